"""Four small real projects give the same verdicts as plain pytest (``make corpus`` runs all)."""

from __future__ import annotations

import pytest

from tests.real import corpus
from tests.real.compare import shown

SMALL = ("itsdangerous", "pluggy", "tomlkit", "boltons")


@pytest.mark.real
@pytest.mark.parametrize("name", SMALL)
def test_same_verdicts_as_plain_pytest(cluster, name):
    (project,) = corpus.projects([name])
    row = corpus.compare(cluster, project, again=False)
    assert row.good, "\n".join((*shown(row.finding), *row.remarks))
    assert row.tests == project["results"]
