"""The parts that deal work, each alone: the queue, the desk's checks, what is handed back, the limits."""

from __future__ import annotations

import pytest

from node.core import records as rec
from node.core.audit import Audit
from node.core.checks import check
from node.core.desk import Desk
from node.core.evaluation import Evaluation, Ledger, Module
from node.core.handbacks import MOST_STRANGERS, Handbacks
from node.core.limits import max_failures
from node.core.losses import Losses
from node.core.membership import Roster
from node.core.pieces import Piece, Pieces
from node.core.settings import SELECT_MOST, CoreSettings
from node.core.work import Assignment, Session, Work
from proto import messages as m
from proto.messages import AssignmentId, Options, TestId


def ids_of(module: str, count: int) -> tuple[TestId, ...]:
    return tuple(TestId(f"{module}::test_{number}") for number in range(count))


def number(n: int) -> AssignmentId:
    return AssignmentId(1, "m", n)


class Hand:
    """One project of one planned module ``a`` on the desk, and the parts that put things back."""

    def __init__(self, count: int = 10) -> None:
        self.ledger = Ledger()
        source = rec.Source(name="p", package="0" * 64, size=1)
        self.ledger.apply(rec.Accepted(evaluation=1, request="r", at=0.0, projects=(source,)))
        self.tests = ids_of("a", count)
        if count:
            self.ledger.apply(rec.Planned(evaluation=1, project=0, module="a", tests=self.tests))
        evaluation: Evaluation = self.ledger.evaluations[1]
        self.desk = Desk()
        self.work = Work(evaluation, evaluation.projects[0], split=True)
        self.desk.works[self.work.key] = self.work
        self.roster = Roster("m", [rec.Joined(node="m", address="m:1", incarnation=1, slots=9)])
        settings = CoreSettings()
        losses = Losses(settings, self.desk, self.ledger.apply, Audit(settings, self.ledger.apply))
        self.losses, self.handbacks = losses, Handbacks(settings, self.desk, losses)

    def session(self, n: int, *pieces: Piece, purpose: str = "main") -> Session:
        """An open session that holds these pieces, under the numbers n + 1, n + 2, ..."""
        made = Session(number(n), "m", n, *self.work.key, "lazy", purpose, opened=True)  # type: ignore[arg-type]
        self.desk.open(self.work, made)
        for place, piece in enumerate(pieces, 1):
            given = Assignment(number(n + place), piece, left=len(piece.select) or len(self.tests))
            self.desk.give(self.work, made, given)
        return made

    def back(self, session: Session, n: int, why: m.Handing, tests: tuple[TestId, ...] = ()) -> None:
        self.handbacks.take(self.work, session, m.HandedBack(assignment=number(n), tests=tests, why=why))

    def check(self) -> None:
        check(self.desk, self.ledger, self.roster)


# --- the queue ------------------------------------------------------------------------------------


def test_pieces_are_taken_in_order_and_requeued_ones_first() -> None:
    queue = Pieces()
    queue.extend(Piece(name) for name in "abc")
    queue.requeue(Piece("z"))
    assert len(queue) == queue.free == 4
    assert [queue.take(number(1)) for _ in range(5)] == [Piece(n) for n in "zabc"] + [None]


def test_a_bound_piece_waits_for_its_session_alone() -> None:
    queue = Pieces()
    bound = Piece("b", owner=number(7), bound=True)
    queue.extend([Piece("a"), bound, Piece("s", alone=True)])
    assert (queue.free, queue.alone, len(queue)) == (1, 1, 3)
    assert not queue.waits_for(number(1))
    assert queue.take(number(7)) == bound
    assert queue.take(number(7)) == Piece("a")
    assert queue.take_alone().module == "s"
    queue.append(bound)
    assert queue.release(number(7)) == (bound,)
    assert queue.release(number(7)) == ()
    assert list(queue) == []


def test_a_long_selection_is_cut_and_stays_in_order() -> None:
    queue = Pieces()
    tests = ids_of("a", 2 * SELECT_MOST + 1)
    queue.append(Piece("b"))
    queue.requeue(Piece("a", tests))
    parts = [queue.take(number(1)) for _ in range(4)]
    assert [len(part.select) for part in parts if part is not None] == [SELECT_MOST, SELECT_MOST, 1, 0]
    assert tuple(test for part in parts[:3] if part is not None for test in part.select) == tests


def test_arranging_without_history_changes_nothing() -> None:
    queue = Pieces()
    queue.extend(Piece(name) for name in "abc")
    queue.arrange({}, 2, all_of_them=True)
    assert [piece.module for piece in queue] == ["a", "b", "c"]


# --- handing back ---------------------------------------------------------------------------------


def test_a_tail_waits_for_the_next_idle_session() -> None:
    hand = Hand()
    owner = hand.session(1, Piece("a"))
    hand.back(owner, 2, "tail", hand.tests[6:])
    assert owner.assignments[number(2)].left == 6
    piece = hand.work.queue.take(number(50))
    assert piece == Piece("a", hand.tests[6:], owner=owner.id)
    hand.check()


def test_a_tail_of_strange_or_finished_tests_is_not_believed() -> None:
    hand = Hand()
    owner = hand.session(1, Piece("a"))
    done = rec.Attempted(
        evaluation=1, project=0, module="a", test=hand.tests[9], outcome="passed", final=True
    )
    hand.ledger.apply(done)
    hand.back(owner, 2, "tail", (hand.tests[9], TestId("b::test_0"), hand.tests[8], hand.tests[8]))
    assert [piece.select for piece in hand.work.queue] == [(hand.tests[8],)]


@pytest.mark.parametrize("why", ["tail", "kept"])
def test_a_refusal_is_remembered(why: m.Handing) -> None:
    hand = Hand()
    owner = hand.session(1, Piece("a"))
    owner.assignments[number(2)].asked = True
    hand.back(owner, 2, why)
    assert not owner.assignments[number(2)].asked
    assert owner.assignments[number(2)].refused
    assert not hand.work.queue


def test_unknown_tests_go_to_their_owner_or_to_the_audit() -> None:
    hand = Hand()
    owner = hand.session(1)
    thief = hand.session(10, Piece("a", hand.tests[5:], owner=owner.id))
    hand.back(thief, 11, "unknown", hand.tests[7:])
    assert thief.assignments[number(11)].piece.select == hand.tests[5:7]
    assert hand.work.queue.take(owner.id) == Piece("a", hand.tests[7:], owner=owner.id, bound=True)
    owner.closing = True
    hand.back(thief, 11, "unknown", hand.tests[6:7])
    assert not hand.work.queue
    hand.back(thief, 11, "unknown", hand.tests[5:6])
    assert number(11) not in thief.assignments, "an empty selection would mean the whole module"
    hand.check()


def test_an_unknown_module_is_not_dealt_for_ever() -> None:
    hand = Hand(0)
    stranger = hand.session(1, *[Piece("nowhere")] * (MOST_STRANGERS + 1))
    for n in range(MOST_STRANGERS + 1):
        hand.back(stranger, 2 + n, "unknown")
        assert len(hand.work.queue) == min(n + 1, MOST_STRANGERS)


def test_what_a_dead_owner_was_to_run_is_free_again() -> None:
    hand = Hand()
    owner = hand.session(1, Piece("a"))
    hand.work.queue.append(Piece("a", hand.tests[8:], owner=owner.id, bound=True))
    hand.losses.node_lost(hand.work, owner, charged=True)
    pieces = list(hand.work.queue)
    assert sorted(test for piece in pieces for test in piece.select) == sorted(hand.tests)
    assert not any(piece.bound for piece in pieces)
    hand.check()


def test_the_audits_unknown_tests_are_left_to_it() -> None:
    hand = Hand()
    audit = hand.session(1, Piece("", hand.tests), purpose="audit")
    hand.back(audit, 2, "unknown", hand.tests[:1])
    assert not hand.work.queue


# --- checks ---------------------------------------------------------------------------------------


def test_a_test_that_is_with_two_sessions_is_found_and_the_story_told() -> None:
    hand = Hand()
    hand.session(1, Piece("a", hand.tests[:5]))
    hand.check()
    hand.session(10, Piece("a", hand.tests[4:]))
    with pytest.raises(AssertionError, match=r"twice[\s\S]*is given 1\.m\.11: a \(6 tests\)"):
        hand.check()


def test_a_session_on_a_node_that_is_gone_is_found() -> None:
    hand = Hand()
    hand.session(1).node = "elsewhere"
    with pytest.raises(AssertionError):
        hand.check()


def test_counts_that_do_not_add_up_are_found() -> None:
    hand = Hand()
    hand.work.project.counts.missing -= 1
    with pytest.raises(AssertionError, match="10 missing"):
        hand.check()


def test_counts_follow_every_outcome() -> None:
    module = Module("a")
    tests = ids_of("a", 3)
    module.plan(tests, replaces=False)
    module.outcome(tests[0], "failed", final=False)
    module.outcome(tests[0], "passed", final=True)
    module.outcome(tests[0], "failed", final=True)
    module.outcome(tests[1], "failed", final=False)
    module.outcome(TestId("a::new"), "passed", final=True)
    counts = module.total
    assert (counts.planned, counts.verdicts, counts.missing, counts.unconfirmed) == (4, 2, 1, 1)
    assert module.unconfirmed() == (tests[1],)
    module.plan(tests[:1], replaces=True)
    assert (counts.planned, counts.verdicts, counts.missing, counts.unconfirmed) == (1, 0, 1, 0)
    assert module.missing() == tests[:1]
    assert module.unconfirmed() == ()


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        ((), 0),
        (("-k", "x"), 0),
        (("-x",), 1),
        (("--exitfirst",), 1),
        (("--maxfail=3",), 3),
        (("--maxfail", "2"), 2),
        (("--maxfail",), 0),
        (("--maxfail=many",), 0),
    ],
)
def test_how_many_failures_end_an_evaluation(arguments: tuple[str, ...], most: int) -> None:
    assert max_failures(arguments) == most
    assert Options(pytest_args=arguments).pytest_args == arguments
