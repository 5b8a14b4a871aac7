"""A cluster in memory: real ``ClusterState`` machines, fake runners with suites of known outcome.

Messages and events are delivered one at a time in a seeded order (in order per connection), so a
failing seed replays exactly.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.core.timing import Timing
from node.core.voting_events import Commit, Persist, Persisted, Saved, found
from proto import messages as m
from proto.messages import AssignmentId, Options, Outcome, TestId, Verdict

MASTER = "n0"


@dataclass
class Suite:
    """What a project does when it runs: module -> test name -> outcome (``die`` kills the runner)."""

    modules: dict[str, dict[str, str]]
    whole_only: dict[str, Outcome] = field(default_factory=dict)
    """Outcomes that differ when the whole suite was collected first."""
    hidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Tests of a module that only a whole collection finds."""

    def tests(self, module: str, whole: bool) -> tuple[TestId, ...]:
        names = tuple(self.modules[module]) + (self.hidden.get(module, ()) if whole else ())
        return tuple(TestId(f"{module}::{name}") for name in names)

    def outcome(self, test: TestId, whole: bool) -> str:
        module, name = test.nodeid.split("::")
        if whole and name in self.whole_only:
            return self.whole_only[name]
        return self.modules[module].get(name, "passed")


@dataclass
class FakeRunner:
    """One session: runs its assignments test by test."""

    open: m.OpenSession
    suite: Suite
    queue: deque[m.Run] = field(default_factory=deque)
    pending: deque[TestId] = field(default_factory=deque)
    current: m.Run | None = None
    opened: bool = False
    closing: bool = False
    said: list[m.AnyMessage] = field(default_factory=list)
    """Answers to requests, in order with the rest."""

    def step(self) -> list[m.AnyMessage] | None:
        """The next words of the session; None when it has nothing to do."""
        whole = self.open.mode == "whole"
        if self.said:
            said, self.said = self.said, []
            return said
        if not self.opened:
            self.opened = True
            listings: list[m.AnyMessage] = []
            if whole:
                listings = [
                    m.Listing(session=self.open.session, module=name, tests=self.suite.tests(name, True))
                    for name in self.suite.modules
                ]
            return [*listings, m.SessionOpened(session=self.open.session, modules=tuple(self.suite.modules))]
        if self.current is None:
            if self.queue:
                return self._begin(self.queue.popleft(), whole)
            if self.closing:
                return [m.SessionEnded(session=self.open.session, how="closed")]
            return None
        # Like the real one: the last test waits for "next" or "close".
        if len(self.pending) == 1 and not self.queue and not self.closing:
            return None
        if not self.pending:
            done = m.Done(assignment=self.current.assignment)
            self.current = None
            return [done]
        test = self.pending.popleft()
        outcome = self.suite.outcome(test, whole)
        started = m.Started(assignment=self.current.assignment, test=test)
        if outcome == "die":
            ended = m.SessionEnded(
                session=self.open.session,
                how="died",
                message="killed by SIGSEGV",
                assignment=self.current.assignment,
                suspect=test,
            )
            return [started, ended]
        verdict = Verdict(test=test, outcome=outcome, module=test.nodeid.split("::")[0])
        return [started, m.Verdicts(assignment=self.current.assignment, first=0, verdicts=(verdict,))]

    def withdraw(self, assignment: AssignmentId, tail: bool) -> None:
        """Give back what has not begun, or half of the tests that have not."""
        back = m.HandedBack(assignment=assignment, why="kept")
        waiting = [run for run in self.queue if run.assignment == assignment]
        if waiting and not tail:
            self.queue.remove(waiting[0])
            back = m.HandedBack(assignment=assignment)
        elif tail:
            count = len(self.pending) // 2 if self.current and self.current.assignment == assignment else 0
            given = tuple(self.pending.pop() for _ in range(count))[::-1]
            back = m.HandedBack(assignment=assignment, tests=given, why="tail")
        self.said.append(back)

    def _begin(self, run: m.Run, whole: bool) -> list[m.AnyMessage]:
        self.current = run
        tests = run.select or self.suite.tests(run.module, whole)
        self.pending = deque(tests)
        if run.module:
            return [
                m.Collected(
                    assignment=run.assignment, module=run.module, tests=self.suite.tests(run.module, whole)
                )
            ]
        return []


class Cluster:
    """A master and workers; ``run`` delivers until nothing is left to do."""

    def __init__(
        self,
        suite: Suite,
        workers: int = 2,
        seed: int = 0,
        master_slots: int = 0,
        before: tuple[rec.AnyRecord, ...] = (),
    ) -> None:
        self.suite = suite
        self.random = random.Random(seed)
        self.now = 100.0
        self.before = before
        """What the master's tables hold of unfinished evaluations."""
        self.records: list[rec.AnyRecord] = list(before)
        self.answers: dict[int, fx.Answer] = {}
        self.nodes: dict[str, ClusterState] = {}
        self.runners: dict[tuple[str, AssignmentId], FakeRunner] = {}
        self.inbox: dict[tuple[str, str], deque[ev.AnyEvent]] = {}
        self.stopped: set[str] = set()
        self._tickets = 0
        self._add(MASTER, master_slots, found(MASTER))
        self.post(MASTER, "timer", ev.Tick(at=1000.0))
        for number in range(workers):
            self.add_worker(f"w{number}")
        self.run()

    def _add(self, node: str, slots: int, saved: Saved) -> None:
        self.nodes[node] = ClusterState(
            CoreSettings(replicas=0),
            node=node,
            address=f"{node}:7000",
            incarnation=1,
            slots=slots,
            alone=1,
            saved=saved,
            timing=Timing(),
            now=self.now,
        )

    def add_worker(self, node: str, slots: int = 1) -> None:
        self._add(node, slots, Saved())
        self._connect(node, MASTER)

    def _connect(self, one: str, other: str) -> None:
        for node, peer in ((one, other), (other, one)):
            self.post(node, peer, ev.PeerUp(node=peer, address=f"{peer}:7000", incarnation=1))

    def kill(self, node: str) -> None:
        """The node is gone at once, with all that was on its way."""
        del self.nodes[node]
        for key in [key for key in self.runners if key[0] == node]:
            del self.runners[key]
        for key in [key for key in self.inbox if node in key]:
            del self.inbox[key]
        for other in self.nodes:
            self.post(other, "links", ev.PeerDown(node=node, incarnation=1, by_peer=True))

    def post(self, node: str, source: str, event: ev.AnyEvent) -> None:
        self.inbox.setdefault((source, node), deque()).append(event)

    def submit(self, options: Options | None = None, projects: int = 1, request: str = "") -> int:
        self._tickets += 1
        sources = tuple(rec.Source(name=f"p{i}", package="0" * 64, size=1) for i in range(projects))
        self.post(
            MASTER,
            "api",
            ev.Submitted(
                ticket=self._tickets,
                request=request or f"r{self._tickets}",
                options=options or Options(),
                sources=sources,
                name="",
                at=1000.0,
            ),
        )
        return self._tickets

    def ask(self, query: m.Query) -> int:
        self._tickets += 1
        self.post(MASTER, "api", ev.Asked(ticket=self._tickets, query=query, at=1000.0))
        return self._tickets

    def run(self, steps: int = 100_000) -> None:
        for _ in range(steps):
            if not self.step():
                return
        raise AssertionError("the cluster does not come to rest")

    def step(self) -> bool:
        sources = [key for key, waiting in self.inbox.items() if waiting]
        choices: list[tuple[str, object]] = [("event", key) for key in sources]
        choices += [("runner", key) for key in self.runners]
        self.random.shuffle(choices)
        for kind, key in choices:
            if kind == "event":
                self._deliver(key[1], self.inbox[key].popleft())
                return True
            messages = self.runners[key].step()
            if messages is not None:
                if any(isinstance(message, m.SessionEnded) for message in messages):
                    del self.runners[key]
                self._deliver(key[0], ev.SessionSaid(session=key[1], messages=tuple(messages)))
                return True
        return False

    def _deliver(self, node: str, event: ev.AnyEvent) -> None:
        self.now += 0.001
        for effect in self.nodes[node].handle(event, self.now):
            self._carry_out(node, effect)
        self.nodes[node].validate()

    def _carry_out(self, node: str, effect: fx.AnyEffect) -> None:
        if isinstance(effect, Persist):
            self.post(node, "disk", Persisted(number=effect.number))
        elif isinstance(effect, Commit):
            self.records += [rec.decode(one.payload) for one in effect.records if one.payload]
            self.post(node, "disk", ev.Committed(position=effect.upto))
        elif isinstance(effect, fx.Load):
            replayed = ev.Replayed(
                epoch=effect.epoch, records=self.before, highest=int(bool(self.before)), at=1000.0
            )
            self.post(node, "disk", replayed)
        elif isinstance(effect, fx.Dial):
            self._dial(node, effect.node)
        elif isinstance(effect, fx.Send):
            if effect.node in self.nodes:
                self.post(effect.node, node, ev.Received(node=node, message=effect.message))
        elif isinstance(effect, fx.Answer):
            self.answers[effect.ticket] = effect
        elif isinstance(effect, fx.StartSession):
            self.runners[node, effect.open.session] = FakeRunner(effect.open, self.suite)
        elif isinstance(effect, fx.RunInSession):
            runner = self.runners.get((node, effect.run.session))
            if runner is not None:
                runner.queue.append(effect.run)
        elif isinstance(effect, fx.WithdrawInSession):
            self._withdraw(node, effect)
        elif isinstance(effect, fx.EndSession):
            self._end(node, effect)
        elif isinstance(effect, fx.Stop):
            self.stopped.add(node)

    def _dial(self, node: str, peer: str) -> None:
        how = "answered" if peer in self.nodes else "refused"
        if how == "answered":
            self._connect(node, peer)
        self.post(node, peer, ev.Dialled(node=peer, how=how, incarnation=1))  # type: ignore[arg-type]

    def _withdraw(self, node: str, effect: fx.WithdrawInSession) -> None:
        runner = self.runners.get((node, effect.session))
        if runner is not None:
            runner.withdraw(effect.assignment, effect.tail)

    def _end(self, node: str, effect: fx.EndSession) -> None:
        runner = self.runners.get((node, effect.session))
        if runner is None:
            return
        runner.closing = True
        if effect.kill:
            del self.runners[node, effect.session]
            ended = m.SessionEnded(session=effect.session, how="killed", message=effect.why)
            self.post(node, "runner", ev.SessionSaid(session=effect.session, messages=(ended,)))

    # --- what came out ------------------------------------------------------------------------

    def verdicts(self, evaluation: int = 1) -> dict[TestId, str]:
        """Test -> verdict; fails if any test has two."""
        found: dict[tuple[int, TestId], str] = {}
        first: dict[tuple[int, TestId], str] = {}
        for record in self.records:
            if record.evaluation != evaluation or isinstance(record, rec.Joined | rec.Departed):
                continue
            if isinstance(record, rec.Planned) and record.replaces:
                for key in [k for k in found if k[1].nodeid.split("::")[0] == record.module]:
                    del found[key]
            if isinstance(record, rec.Attempted) and not record.final:
                first[record.project, record.test] = record.outcome
            elif isinstance(record, rec.Attempted | rec.Settled):
                key = (record.project, record.test)
                assert key not in found, f"{record.test} has two verdicts"
                found[key] = record.outcome
        return {test: outcome for (_, test), outcome in found.items()}

    def state(self, evaluation: int = 1) -> str:
        ended = [r.state for r in self.records if isinstance(r, rec.Ended) and r.evaluation == evaluation]
        assert len(ended) <= 1
        return ended[0] if ended else "unfinished"
