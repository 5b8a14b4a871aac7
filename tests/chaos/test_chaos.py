"""A short run of the harness itself: workers under fire, then in peace."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos.nodes import ROOT

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("more", [["--spare-masters"], []], ids=["workers", "all"])
def test_nothing_is_lost(more):
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "30", "--seed", "1", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
