"""Two histories of one evaluation: set aside, given away part by part, taken whole, counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.core import records as rec
from node.core.evaluation import Ledger
from node.core.voting_events import Persist
from node.store import Aside, Store, past
from node.store.rows import MergedRow
from proto.voting import NO_EPOCH, Epoch
from tests.store.story import ONE, PACKAGE, TWO, Story, case

LOW, HIGH = Epoch(3, "n1"), Epoch(4, "n2")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Story]:
    """The side that returns."""
    folder = tmp_path / "other"
    folder.mkdir()
    store = Store(folder / "testring.db")
    yield Story(store)
    store.close()


@pytest.fixture
def aside(other: Story) -> Iterator[Callable[..., Aside]]:
    """What it set aside: made when it is called, so tests tell the story first."""
    made: list[Aside] = []

    def make(first: int = 1) -> Aside:
        other.store.part(first)
        made.append(other.store.aside())
        return made[-1]

    yield make
    for one in made:
        one.close()


def finish(story: Story, epoch: Epoch, at: float = 103.2) -> None:
    number = story.evaluation
    story.tell(
        rec.ProjectEnded(evaluation=number, project=0, state="finished", audited=True, notes=("a note",)),
        rec.Ended(evaluation=number, state="finished", at=at, epoch=epoch),
    )


def take(story: Story, aside: Aside, stands: Any = "returned", evaluation: int = 12345) -> None:
    """Tell the present side's log what the returning one gives, part by part."""
    offer = next(one for one in aside.offers() if one.evaluation == evaluation)
    number, last = 0, False
    while not last:
        body, last = aside.part(offer.history, evaluation, number)
        story.tell(
            rec.Merged(
                evaluation=evaluation, node="n2", history=offer.history, part=number, last=last,
                stands=stands, body=body,
            )
        )  # fmt: skip
        number += 1
    aside.drop(offer.history, evaluation)


def everything(store: Store, number: int = 12345) -> Any:
    """All that people can see of an evaluation, without the positions of this log."""
    page = store.tests(number, limit=1000)
    rows = store.evaluation(number)
    assert page is not None
    assert rows is not None
    return msgspec.structs.replace(rows, merged=()), page


def kept(story: Story) -> tuple[MergedRow, ...]:
    """The other histories of the evaluation."""
    rows = story.store.evaluation(12345)
    assert rows is not None
    return rows.merged


def eventful(story: Story) -> None:
    """An evaluation in which much has happened."""
    story.accept(12345, rec.Source(name="chord", package=PACKAGE, size=10), rec.Source(name="bad", url="u"))
    story.run({"a.py": ".FsxX", "b.py": "TC."}, seconds=0.25)
    story.plan({"a.py": 5, "b.py": 3, "c.py": 4})
    story.tell(
        rec.Interrupted(
            evaluation=12345, project=0, module="c.py", test=case("c.py", 0), how="node", node=TWO
        ),
        story.attempt(
            "c.py", 0, "failed", final=False, node=TWO, message="m", traceback="t" * 9999, output="o"
        ),
        story.attempt("c.py", 0, "passed", split_sensitive=True),
        story.attempt("c.py", 1, "failed", final=False),
        rec.Settled(
            evaluation=12345,
            project=0,
            module="c.py",
            test=case("c.py", 1),
            outcome="failed",
            unconfirmed=True,
        ),
        rec.Interrupted(evaluation=12345, project=0, module="c.py", test=case("c.py", 2), how="runner"),
        rec.ProjectFailed(evaluation=12345, project=1, phase="fetch", message="no such host", log="log"),
    )


def test_an_evaluation_that_only_the_other_side_knows_is_taken_as_it_is(
    story: Story, other: Story, aside: Callable[..., Aside]
) -> None:
    eventful(other)
    before = everything(other.store)
    stats = other.store.stats()
    take(story, aside())
    assert everything(story.store) == before
    assert story.store.stats() == stats
    assert story.store.replay().highest == 12345


def test_what_goes_on_goes_on_in_the_ledger_of_every_later_master(
    story: Story, other: Story, aside: Callable[..., Aside]
) -> None:
    eventful(other)
    known, taken = Ledger(), Ledger()
    for record in other.store.replay().records:
        known.apply(record)
    take(story, aside())
    for record in story.store.replay().records:
        taken.apply(record)
    assert taken.evaluations == known.evaluations
    story.evaluation = 12345
    story.tell(story.attempt("c.py", 2, "passed"), story.attempt("c.py", 3, "passed"))
    story.end(projects=2)
    assert not story.store.replay().records
    page = story.store.tests(12345)
    assert page is not None
    assert page.total == 13


@pytest.mark.parametrize("present_ended", [True, False])
def test_taken_whole_from_the_side_that_ended_it_in_the_lower_epoch(
    story: Story, other: Story, aside: Callable[..., Aside], present_ended: bool
) -> None:
    for one in (story, other):
        one.accept()
        one.plan({"a.py": 2})
    other.tell(other.attempt("a.py", 0, "passed", node=TWO), other.attempt("a.py", 1, "passed", node=TWO))
    finish(other, LOW)
    story.tell(story.attempt("a.py", 0, "failed", node=ONE))
    if present_ended:
        story.tell(story.attempt("a.py", 1, "failed", node=ONE))
        finish(story, HIGH, at=200.0)
    before = everything(other.store)
    take(story, aside())
    assert everything(story.store) == before
    stats = story.store.stats()
    assert (stats.all.passed, stats.all.failed, stats.all.evaluations) == (2, 0, {12345})
    assert (stats.nodes[TWO].passed, stats.nodes[TWO].evaluations) == (2, {12345})
    assert ONE not in stats.nodes or not stats.nodes[ONE].evaluations
    (merged,) = kept(story)
    assert (merged.node, merged.stands) == ("n2", "returned")
    assert merged.state == ("finished" if present_ended else "running")
    assert merged.outcomes == {"failed": 2 if present_ended else 1}


def test_else_the_present_history_stands_and_the_other_is_kept(
    story: Story, other: Story, aside: Callable[..., Aside]
) -> None:
    for one in (story, other):
        one.accept()
        one.plan({"a.py": 2})
    other.tell(other.attempt("a.py", 0, "failed", node=TWO))
    story.tell(story.attempt("a.py", 0, "passed", node=ONE))
    before, stats = everything(story.store), story.store.stats()
    take(story, aside(), "present")
    assert everything(story.store) == before
    assert story.store.stats() == stats
    (merged,) = kept(story)
    assert (merged.stands, merged.state, merged.outcomes) == ("present", "running", {"failed": 1})
    replayed = story.store.replay().records
    assert not [record for record in replayed if isinstance(record, rec.Merged)]


def test_an_interrupted_merge_begins_again(story: Story, other: Story, aside: Callable[..., Aside]) -> None:
    eventful(other)
    before = everything(other.store)
    away = aside()
    (offer,) = away.offers()
    half = rec.Merged(
        evaluation=12345, node="n2", history=offer.history, part=0, last=False, stands="returned",
        body=rec.encode_past(()),
    )  # fmt: skip
    story.tell(half, msgspec.structs.replace(half, part=1))
    assert story.store.evaluation(12345) is None
    assert not story.store.compared(12345, "n2", offer.history).settled
    take(story, away)
    assert everything(story.store) == before
    assert story.store.compared(12345, "n2", offer.history).settled


def test_a_large_history_comes_in_parts(
    story: Story, other: Story, aside: Callable[..., Aside], monkeypatch: Any
) -> None:
    monkeypatch.setattr(past, "PART", 500)
    eventful(other)
    before = everything(other.store)
    take(story, aside())
    assert story.position > 5
    assert everything(story.store) == before


def test_a_copy_for_another_voter_has_what_was_merged(
    story: Story, other: Story, aside: Callable[..., Aside], tmp_path: Path
) -> None:
    eventful(other)
    away = aside()
    (offer,) = away.offers()
    take(story, away)
    upto = story.store.copy(tmp_path / "copy")
    third = Store(tmp_path / "third.db")
    try:
        install = Persist(number=1, counter=1, voted="", commit=upto.position, snapshot=upto)
        third.write([install], snapshot=tmp_path / "copy")
        assert everything(third) == everything(story.store)
        assert third.replay() == story.store.replay()
        assert third.compared(12345, "n2", offer.history).settled
    finally:
        third.close()


# --- what is set aside ----------------------------------------------------------------------------


def test_setting_aside_leaves_nothing_but_the_vote(other: Story, aside: Callable[..., Aside]) -> None:
    eventful(other)
    other.store.keep("incarnation", "7")
    other.store.keep("cluster", "c")
    counter = other.store.saved().counter
    aside()
    saved = other.store.saved()
    assert (saved.counter, saved.records, saved.commit) == (counter, (), 0)
    assert other.store.evaluation(12345) is None
    assert (other.store.kept("incarnation"), other.store.kept("cluster")) == ("7", "c")


def test_what_both_sides_have_is_not_offered(other: Story, aside: Callable[..., Aside]) -> None:
    other.accept(1)
    other.run({"a.py": "."})
    finish(other, LOW)
    common = other.position
    other.accept(2)
    other.run({"a.py": "."})
    other.accept(3)
    other.run({"a.py": "."})
    finish(other, HIGH)
    other.evaluation = 2
    away = aside(common + 1)
    assert [(offer.evaluation, offer.ended) for offer in away.offers()] == [(2, NO_EPOCH), (3, HIGH)]
    assert away.offers()[0].packages == {PACKAGE: 10}
    assert away.packages() == {PACKAGE}


def test_a_file_goes_with_its_last_evaluation(other: Story, aside: Callable[..., Aside]) -> None:
    eventful(other)
    folder = other.store.path.parent
    away = aside()
    assert len(list(folder.glob("aside-*.db"))) == 1
    (offer,) = away.offers()
    away.drop(offer.history, 12345)
    assert not list(folder.glob("aside-*"))
    assert not away.offers()


def test_a_later_process_offers_what_is_left(other: Story, aside: Callable[..., Aside]) -> None:
    eventful(other)
    first = aside()
    offers = first.offers()
    first.close()
    stranger = other.store.path.with_name("aside-0123.db")
    stranger.write_bytes(b"begun, and never named")
    again = other.store.aside()
    try:
        assert again.offers() == offers
        assert not stranger.exists()
        assert again.part(offers[0].history, 12345, 0)[0]
    finally:
        again.close()
