"""A copy of the tables brings another node to the same state, and nothing else with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.core.voting_events import Persist
from node.store import Store, StoreError
from node.store.snapshot import describe
from proto.voting import EMPTY, Mark
from tests.store.story import EPOCH, Story, entries, persist


def _installed(source: Store, tmp_path: Path) -> Store:
    copy = tmp_path / "copy"
    upto = source.copy(copy)
    assert describe(copy) == (upto, ("n1",))
    target = Store(tmp_path / "other.db")
    target.keep("incarnation", "7")
    other = Story(target)
    other.accept(99)
    effect = Persist(
        number=1, counter=5, voted="n3", commit=upto.position, snapshot=upto, snapshot_voters=("n1",)
    )
    assert target.write([effect], copy).applied == upto.position
    return target


def test_the_other_node_has_the_same_evaluations(store: Store, story: Story, tmp_path: Path) -> None:
    story.accept(1)
    story.run({"a.py": ".F"})
    story.end()
    story.accept(2)
    story.run({"a.py": "."})
    target = _installed(store, tmp_path)
    for number in (1, 2):
        assert target.evaluation(number) == store.evaluation(number)
        assert target.tests(number) == store.tests(number)
    assert target.stats() == store.stats()
    assert target.replay() == store.replay()
    assert target.evaluation(99) is None
    target.close()


def test_its_own_facts_stay_and_the_log_goes_on(store: Store, story: Story, tmp_path: Path) -> None:
    story.accept(1)
    story.plan({"a.py": 1})
    late = entries(story.position + 1, [story.attempt("a.py", 0, "passed")])
    store.write([persist(*late, commit=story.position)])
    target = _installed(store, tmp_path)
    saved = target.saved()
    assert (saved.counter, saved.voted, saved.base) == (5, "n3", Mark(EPOCH, story.position))
    assert saved.records == (), "what was not committed is not in the copy"
    assert target.kept("incarnation") == "7"
    target.write([persist(*late, commit=story.position + 1)])
    page = target.tests(1)
    assert page is not None
    assert [test.outcome for test in page.tests] == ["passed"]
    target.close()


def test_installing_nothing_forgets_everything(store: Store, story: Story) -> None:
    story.accept(1)
    story.run({"a.py": "."})
    store.write([Persist(number=1, counter=1, voted="", commit=0, snapshot=EMPTY)])
    assert store.evaluation(1) is None
    assert store.saved().records == ()
    assert store.applied() == 0


def test_another_file_is_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "copy"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="this is not a database"):
        describe(path)
