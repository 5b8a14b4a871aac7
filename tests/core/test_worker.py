"""The worker's side: what it reports, says again, and defers."""

from __future__ import annotations

from node.core import effects as fx
from node.core.settings import CoreSettings
from node.core.worker import Worker
from proto import messages as m
from proto.messages import AssignmentId, Options, TestId

JOIN = m.Join(address="w:1", slots=1)


def number(n: int) -> AssignmentId:
    return AssignmentId(1, "m", n)


def opened(n: int, slot: int = 0) -> m.OpenSession:
    return m.OpenSession(
        session=number(n), slot=slot, evaluation=1, project=0, name="p", package="0" * 64, size=1,
        mode="lazy", options=Options(), purpose="main",
    )  # fmt: skip


def ids(count: int) -> tuple[TestId, ...]:
    return tuple(TestId(f"a::t{n}") for n in range(count))


def verdicts(assignment: int, *of: TestId) -> m.Verdicts:
    given = tuple(m.Verdict(test=test, outcome="passed", module="a") for test in of)
    return m.Verdicts(assignment=number(assignment), first=0, verdicts=given)


def sent(effects: list[fx.AnyEffect], kind: type | None = None) -> list[m.AnyMessage]:
    messages = [effect.message for effect in effects if isinstance(effect, fx.Send)]
    return [message for message in messages if kind is None or isinstance(message, kind)]


def working(select: tuple[TestId, ...] = ()) -> Worker:
    """A welcome worker with one open session (1) that holds one assignment (2)."""
    worker = Worker(CoreSettings(), "w")
    worker.follow("m", JOIN)
    worker.receive(m.Welcome(cluster="", epoch=1))
    worker.receive(opened(1))
    worker.said(number(1), (m.SessionOpened(session=number(1), modules=("a",)),))
    worker.receive(m.Run(assignment=number(2), session=number(1), module="a", select=select))
    return worker


def test_a_report_names_what_is_held_and_where_its_verdicts_stand() -> None:
    worker = working(ids(3))
    worker.said(number(1), (verdicts(2, ids(3)[0]),))
    join, held, run, end = sent(worker.follow("n", JOIN))
    assert (join, end) == (JOIN, m.Reported())
    assert isinstance(held, m.Held)
    assert held.opened
    assert isinstance(run, m.HeldRun)
    assert run.answered == 0
    worker.receive(m.Answered(assignment=number(2), upto=1))
    (run,) = sent(worker.follow("n", JOIN), m.HeldRun)
    assert isinstance(run, m.HeldRun)
    assert run.answered == 1


def test_nothing_is_said_before_the_welcome_and_everything_after_it() -> None:
    worker = working()
    assert sent(worker.said(number(1), (m.Collected(assignment=number(2), module="a", tests=ids(2)),)))
    worker.lost()
    assert worker.said(number(1), (m.Started(assignment=number(2), test=ids(1)[0]),)) == []
    worker.follow("n", JOIN)
    again = sent(worker.receive(m.Welcome(cluster="", epoch=2)))
    assert [type(message).__name__ for message in again] == ["SessionOpened", "Collected", "Started"]


def test_what_was_handed_back_is_not_reported_as_held() -> None:
    worker = working(ids(3))
    worker.said(number(1), (m.HandedBack(assignment=number(2), tests=ids(3)[1:], why="tail"),))
    (run,) = sent(worker.follow("n", JOIN), m.HeldRun)
    assert isinstance(run, m.HeldRun)
    assert run.run.select == ids(1)
    worker.said(number(1), (m.HandedBack(assignment=number(2), tests=ids(1), why="unknown"),))
    assert sent(worker.follow("n", JOIN), m.HeldRun) == [], "an empty selection would mean the module"


def test_void_sessions_are_killed_and_their_verdicts_forgotten() -> None:
    worker = working()
    worker.said(number(1), (verdicts(2, *ids(2)),))
    worker.follow("n", JOIN)
    effects = worker.receive(m.Welcome(cluster="", epoch=2, void=(number(1),)))
    assert [effect.kill for effect in effects if isinstance(effect, fx.EndSession)] == [True]
    assert sent(effects, m.Verdicts) == []
    worker.said(number(1), (m.SessionEnded(session=number(1), how="killed"),))
    assert not worker.sessions


def test_a_session_waits_until_its_slot_is_free_and_may_be_closed_meanwhile() -> None:
    worker = working()
    assert worker.receive(opened(3)) == []
    assert sent(worker.receive(m.CloseSession(session=number(3))), m.SessionEnded)
    assert worker.receive(opened(4)) == []
    effects = worker.said(number(1), (m.SessionEnded(session=number(1), how="closed"),))
    assert [effect.open.session for effect in effects if isinstance(effect, fx.StartSession)] == [number(4)]


def test_a_run_for_a_session_that_is_over_is_handed_back() -> None:
    worker = working()
    run = m.Run(assignment=number(9), session=number(7), module="b")
    assert sent(worker.receive(run)) == [m.HandedBack(assignment=number(9))]


def test_an_ended_session_stays_until_its_verdicts_are_answered() -> None:
    worker = working()
    worker.said(number(1), (verdicts(2, *ids(2)), m.Done(assignment=number(2))))
    worker.said(number(1), (m.SessionEnded(session=number(1), how="closed"),))
    assert not worker.drained()
    assert worker.sessions
    worker.receive(m.Answered(assignment=number(2), upto=2))
    assert not worker.sessions


def test_draining_withdraws_what_has_not_begun_and_says_so() -> None:
    worker = working()
    effects = worker.drain(10.0)
    assert sent(effects) == [m.Leaving()]
    assert [type(effect).__name__ for effect in effects[1:]] == ["WithdrawInSession", "EndSession"]
    assert worker.drain_deadline == 10.0 + CoreSettings().drain_seconds
    assert [effect.kill for effect in worker.overdue() if isinstance(effect, fx.EndSession)] == [True]
