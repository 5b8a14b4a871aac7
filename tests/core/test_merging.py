"""The master's side of a merge, and the returning node's: which history stands, and what travels when."""

from __future__ import annotations

import pytest

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.holders import Holders
from node.core.lifecycle import Lifecycle
from node.core.membership import Roster
from node.core.merging import Merging
from node.core.returning import Returning
from node.core.settings import CoreSettings
from node.core.work import Session, Work
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId, TestId
from proto.voting import NO_EPOCH, Epoch, History, OfferHistory, WantHistory

PACKAGE = "a" * 64
LOW, OWN, HIGH = Epoch(3, "n1"), Epoch(4, "n2"), Epoch(5, "n1")
ACCEPTED = rec.Accepted(
    evaluation=7, request="r", at=1.0, projects=(rec.Source(name="p", package=PACKAGE, size=9),)
)
LISTED = rec.Listed(evaluation=7, project=0, modules=("a.py",))
PLANNED = rec.Planned(evaluation=7, project=0, module="a.py", tests=(TestId("a.py::t"),))
BODY = rec.encode_past(((1, ACCEPTED), (2, LISTED), (3, PLANNED)))


class Side:
    """The master ``n2`` of epoch 4, whose roster has ``n1`` as well."""

    def __init__(self) -> None:
        joined = tuple(rec.Joined(node=n, address=f"{n}:1", incarnation=1, slots=1) for n in ("n2", "n1"))
        self.ledger, self.desk = Ledger(), Desk()
        self.records: list[rec.AnyRecord] = []
        self.told: list[tuple[str, AnyMessage]] = []
        self.roster = Roster("n2", joined)
        self.holders = Holders(CoreSettings(), "n2", self.ledger, self.roster)
        self.lifecycle = Lifecycle(CoreSettings(), OWN, self.ledger, self.desk, self._record)
        self.merging = Merging(
            OWN, self.ledger, self.desk, self.lifecycle, self.holders, self._record, self._tell
        )

    def _record(self, record: rec.AnyRecord) -> None:
        self.records.append(record)
        self.ledger.apply(record)

    def _tell(self, node: str, message: AnyMessage) -> None:
        self.told.append((node, message))

    def goes_on(self) -> Work:
        """The evaluation is known here, and one session runs for it."""
        for record in (ACCEPTED, LISTED):
            self.ledger.apply(record)
        evaluation = self.ledger.evaluations[7]
        work = self.lifecycle.adopted(evaluation, evaluation.projects[0], 1.0)
        self.desk.open(work, Session(AssignmentId(4, "n2", 1), "n1", 0, 7, 0, "lazy", "main"))
        return work

    def offered(self, ended: Epoch, known: bool = False, ended_here: Epoch | None = None) -> str:
        """Offer the evaluation, and let the tables answer; what is asked for: whole, packages or nothing."""
        packages = {PACKAGE: 9} if ended == NO_EPOCH else {}
        offer = OfferHistory(history="h", evaluation=7, ended=ended, packages=packages)
        assert self.merging.receive("n1", offer) == [fx.Compare(node="n1", offer=offer)]
        effects = self.merging.compared(
            ev.Compared(node="n1", history="h", evaluation=7, known=known, ended=ended_here)
        )
        if effects:
            assert effects == [fx.Equip(node="n2", packages=packages, source="n1")]
            return "packages"
        (_, want) = self.told.pop()
        assert isinstance(want, WantHistory)
        return "nothing" if want.settled else "records"

    def part(self, part: int = 0, last: bool = True, body: bytes = BODY) -> list[fx.AnyEffect]:
        return self.merging.receive("n1", History(history="h", evaluation=7, part=part, last=last, body=body))


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.mark.parametrize(
    ("ended", "here", "stands"),
    [
        (LOW, "goes on", "returned"),
        (HIGH, "goes on", "returned"),
        (LOW, HIGH, "returned"),
        (HIGH, LOW, "present"),
        (NO_EPOCH, "goes on", "present"),
        (NO_EPOCH, LOW, "present"),
        (LOW, "unknown", "returned"),
        (LOW, LOW, None),
    ],
)
def test_which_side_stands(side: Side, ended: Epoch, here: str | Epoch, stands: str | None) -> None:
    if here == "goes on":
        side.goes_on()
    asked = side.offered(ended, here != "unknown", here if isinstance(here, Epoch) else None)
    if stands is None:
        assert (asked, side.records) == ("nothing", [])
        return
    assert asked == "records"
    side.part()
    (merged,) = side.records
    assert isinstance(merged, rec.Merged)
    assert (merged.stands, merged.last) == (stands, True)
    assert side.told == [("n1", WantHistory(history="h", evaluation=7, settled=True))]


def test_what_this_side_ran_of_it_is_over_when_the_other_history_stands(side: Side) -> None:
    work = side.goes_on()
    assert side.offered(LOW, known=True) == "records"
    kill = m.CloseSession(session=AssignmentId(4, "n2", 1), kill=True)
    past = ((1, ACCEPTED), (2, rec.Ended(evaluation=7, state="finished", at=2.0, epoch=LOW)))
    assert fx.Send(node="n1", message=kill) in side.part(body=rec.encode_past(past))
    assert not work.sessions
    assert not side.desk.works
    assert not side.ledger.evaluations
    side.desk.check()


def test_an_unfinished_one_goes_on_here_once_its_packages_are(side: Side) -> None:
    assert side.offered(NO_EPOCH) == "packages"
    assert side.part() == []
    assert not side.records, "the bytes come first"
    side.merging.equipped(ev.Equipped(node="n2", packages=frozenset({PACKAGE}), ok=True))
    assert side.told.pop()[1] == WantHistory(history="h", evaluation=7)
    side.part()
    assert [module.name for module in side.ledger.evaluations[7].projects[0].modules.values()] == ["a.py"]
    (work,), _ = side.lifecycle.start(2.0, 2.0)
    assert [piece.select for piece in work.queue] == [PLANNED.tests]


def test_its_packages_come_to_a_majority_of_the_voters(side: Side) -> None:
    side.holders.voters = ("n2", "n3", "n4")
    side.offered(NO_EPOCH)
    side.merging.equipped(ev.Equipped(node="n2", packages=frozenset({PACKAGE}), ok=True))
    assert not side.told
    third = ev.Equipped(node="n3", packages=frozenset({PACKAGE}), ok=True)
    side.roster.join(rec.Joined(node="n3", address="n3:1", incarnation=1, slots=1))
    side.holders.equipped(third)
    side.merging.equipped(third)
    assert side.told == [("n1", WantHistory(history="h", evaluation=7))]


def test_parts_come_one_by_one_and_others_are_not_taken(side: Side) -> None:
    side.offered(LOW)
    side.part(0, last=False)
    assert side.told.pop()[1] == WantHistory(history="h", evaluation=7, part=1)
    side.part(0, last=False)
    side.part(2)
    assert len(side.records) == 1
    assert not side.ledger.evaluations, "not before the last part"
    side.part(1)
    assert len(side.records) == 2


def test_what_cannot_be_read_is_said_and_not_taken(side: Side) -> None:
    side.offered(LOW)
    (said,) = side.part(body=b"\x01")
    assert isinstance(said, fx.Say)
    side.offered(LOW)
    (said,) = side.part(body=rec.encode_past(((1, rec.Began(evaluation=8, state="running", at=1.0)),)))
    assert isinstance(said, fx.Say)
    assert "evaluation 8" in said.text
    assert not side.records


def test_an_offer_that_was_dealt_with_is_settled_again(side: Side) -> None:
    side.offered(LOW)
    side.part()
    side.told.clear()
    assert side.offered(LOW) == "nothing"
    assert len(side.records) == 1


# --- the node that returns ------------------------------------------------------------------------

OFFERS = tuple(OfferHistory(history="h", evaluation=number) for number in (7, 8))


def test_offers_go_one_after_the_other_to_whoever_is_master() -> None:
    returning = Returning()
    assert returning.take(ev.Parted(offers=OFFERS), "") == []
    assert returning.offer("n2") == [fx.Send(node="n2", message=OFFERS[0])]
    read = fx.ReadHistory(history="h", evaluation=7, part=0)
    assert returning.wanted(WantHistory(history="h", evaluation=7), "n2") == [read]
    found = ev.HistoryRead(history="h", evaluation=7, part=0, last=True, body=b"x")
    part = History(history="h", evaluation=7, part=0, last=True, body=b"x")
    assert returning.take(found, "") == [], "the master is gone: another one asks again"
    assert returning.take(found, "n3") == [fx.Send(node="n3", message=part)]
    settled = WantHistory(history="h", evaluation=7, settled=True)
    done = fx.DropHistory(history="h", evaluation=7)
    assert returning.wanted(settled, "n3") == [done, fx.Send(node="n3", message=OFFERS[1])]
    assert returning.wanted(settled, "n3") == [], "it was settled before"


# --- verdicts that another master answered for ----------------------------------------------------


def test_what_has_no_outcome_when_all_is_done_runs_once_more_and_is_lost_then(side: Side) -> None:
    work = side.goes_on()
    (session,) = work.sessions.values()
    side.desk.close(work, session, "closed")
    side.ledger.apply(PLANNED)
    work.queue.clear()

    def end() -> None:
        side.lifecycle.end_project(work, 3.0, settle=lambda _: True, due=lambda _: False)

    end()
    assert [piece.select for piece in work.queue] == [PLANNED.tests]
    assert not side.records
    work.queue.clear()
    end()
    attempted, ended = side.records
    assert isinstance(attempted, rec.Attempted)
    assert attempted.outcome == "lost"
    assert isinstance(ended, rec.ProjectEnded)
