"""A whole cluster in memory: real cores, fake runners, virtual time, a seeded order of things.

Links keep the order of messages and lose those in flight when they are cut. Appends become durable
a moment later; what a master says before that which depends on them is a failure, found at once.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from proto import messages as m
from proto.messages import AssignmentId, Options, TestId
from tests.core.fakerunner import FakeRunner, FakeSuite

EPOCH = 1_000_000_000.0
"""Unix time at virtual second 0."""
LONGEST = 20_000.0
"""Virtual seconds after which a run that goes on is called stuck."""


class Stuck(AssertionError):
    """Nothing can happen any more, or nothing ever ends."""


@dataclass
class Log:
    """What is durable, and the rules that only the log can show to be kept."""

    records: list[rec.AnyRecord] = field(default_factory=list)
    durable: int = 0
    planned: dict[tuple[int, int], dict[str, dict[TestId, None]]] = field(default_factory=dict)
    verdicts: dict[tuple[int, int, str, TestId], str] = field(default_factory=dict)
    unconfirmed: set[tuple[int, int, str, TestId]] = field(default_factory=set)
    projects: dict[tuple[int, int], rec.ProjectEnded] = field(default_factory=dict)
    ended: dict[int, rec.Ended] = field(default_factory=dict)

    def append(self, effect: fx.Append) -> None:
        """Take records in; positions follow each other and nothing is said twice."""
        self.records.extend(effect.records)
        assert effect.position == len(self.records), "positions must be consecutive"
        for record in effect.records:
            self._check(record)

    def _check(self, record: rec.AnyRecord) -> None:
        if not isinstance(record, rec.Accepted | rec.Audited):
            assert record.evaluation not in self.ended, f"{record} after the end of its evaluation"
        if isinstance(record, rec.Planned):
            modules = self.planned.setdefault((record.evaluation, record.project), {})
            if record.replaces:
                for test in modules.pop(record.module, {}):
                    self.verdicts.pop((record.evaluation, record.project, record.module, test), None)
            modules.setdefault(record.module, {}).update(dict.fromkeys(record.tests))
        elif isinstance(record, rec.Attempted | rec.Settled):
            key = (record.evaluation, record.project, record.module, record.test)
            modules = self.planned[record.evaluation, record.project]
            assert record.test in modules[record.module], f"{record.test} has an outcome but no plan"
            if isinstance(record, rec.Settled) or record.final:
                assert key not in self.verdicts, f"a second verdict for {record.test}"
                self.verdicts[key] = record.outcome
                if record.unconfirmed:
                    self.unconfirmed.add(key)
        elif isinstance(record, rec.ProjectFailed):
            # The store gives a project that could not be run one error.
            name = f"({record.phase})"
            self.verdicts[record.evaluation, record.project, name, TestId(name)] = "error"
        elif isinstance(record, rec.ProjectEnded):
            key = (record.evaluation, record.project)
            assert key not in self.projects, f"project {key} ends twice"
            self.projects[key] = record
            self._conserved(*key)
        elif isinstance(record, rec.Ended):
            self.ended[record.evaluation] = record
            for evaluation, project in self.planned:
                if evaluation == record.evaluation:
                    self._conserved(evaluation, project)

    def _conserved(self, evaluation: int, project: int) -> None:
        for module, tests in self.planned.get((evaluation, project), {}).items():
            for test in tests:
                assert (evaluation, project, module, test) in self.verdicts, f"{test} has no verdict"

    def outcomes(self, evaluation: int, project: int = 0) -> dict[tuple[str, TestId], str]:
        """(module, test) -> verdict of one project."""
        return {key[2:]: said for key, said in self.verdicts.items() if key[:2] == (evaluation, project)}

    def of(self, kind: type, evaluation: int) -> list[rec.AnyRecord]:
        """The records of one kind about one evaluation."""
        return [r for r in self.records if isinstance(r, kind) and r.evaluation == evaluation]

    def unfinished(self) -> tuple[rec.AnyRecord, ...]:
        """What a store replays after a restart."""
        return tuple(r for r in self.records[: self.durable] if r.evaluation not in self.ended)


@dataclass
class Life:
    """One process: a core and the runners it started."""

    name: str
    core: ClusterState
    runners: dict[AssignmentId, tuple[FakeRunner, Iterator[float | None]]] = field(default_factory=dict)
    alive: bool = True
    stopped: bool = False


class MiniCluster:
    """One master ``m`` and any number of workers.

    Args:
        seed: of every delay; the same seed gives the same run.
        slots: of the master.
    """

    def __init__(self, seed: int = 0, slots: int = 0, settings: CoreSettings | None = None) -> None:
        self.epoch = 0
        self.random = random.Random(seed)
        self.settings = settings or CoreSettings()
        self.now = 0.0
        self.log = Log()
        self.suites: dict[str, FakeSuite] = {}
        self.urls: dict[str, FakeSuite | None] = {}
        self.answers: dict[int, fx.Answer] = {}
        self.messages: list[tuple[str, str, object]] = []
        self.lives: dict[str, Life] = {}
        self.once: set[object] = set()
        self.first: dict[object, AssignmentId] = {}
        self.ran: list[tuple[str, TestId]] = []
        self.slots = {"m": slots}
        self.recalled: dict[str, float] = {}
        """What is known of every project from before."""
        self.recalls: list[fx.Recall] = []
        self.batch = 1
        """Verdicts in one message of a runner."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._tickets = itertools.count(1)
        self._links: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], float] = {}
        self._start("m", master=True)
        self.tell("m", ev.Replayed(records=(), highest=0, at=self.at))

    def _next_epoch(self, master: bool) -> int:
        """A restarted master is a new epoch: its assignment ids never meet those of its former life."""
        self.epoch += master
        return self.epoch

    @property
    def at(self) -> float:
        """Unix time."""
        return EPOCH + self.now

    # --- nodes --------------------------------------------------------------------------------

    def _start(self, name: str, master: bool) -> Life:
        core = ClusterState(
            self.settings, node=name, address=f"{name}:7000", slots=self.slots[name],
            alone=0, epoch=self._next_epoch(master), master=master,
        )  # fmt: skip
        life = self.lives[name] = Life(name, core)
        return life

    def worker(self, name: str, slots: int = 1) -> None:
        """A worker starts and connects."""
        self.slots[name] = slots
        self._start(name, master=False)
        self.connect(name)

    def connect(self, name: str) -> None:
        """A control connection between a worker and the master comes up."""
        if not (self.lives[name].alive and self.lives["m"].alive) or (name, "m") in self._links:
            return
        number = next(self._order)
        self._links[name, "m"] = self._links["m", name] = number
        for one, other in (("m", name), (name, "m")):
            event = ev.PeerUp(node=other, address=f"{other}:7000", epoch=1)
            self.later(0.0, lambda one=one, event=event: self.tell(one, event))

    def cut(self, name: str, evidence: bool = True) -> None:
        """The connection breaks; messages in flight are lost."""
        if self._links.pop((name, "m"), None) is None:
            return
        del self._links["m", name]
        for one, other in (("m", name), (name, "m")):
            if self.lives[one].alive:
                event = ev.PeerDown(node=other, evidence=evidence, reason="reset")
                self.later(self.pace(), lambda one=one, event=event: self.tell(one, event))

    def kill(self, name: str) -> None:
        """A process is gone with its runners."""
        life = self.lives[name]
        life.alive = False
        life.runners.clear()
        for other in [o for o in self.lives if o != name]:
            self.cut(other if name == "m" else name)

    def restart_master(self) -> None:
        """The master comes back from its disk; workers dial again."""
        del self.log.records[self.log.durable :]
        self._rebuild_log()
        self._start("m", master=True)
        highest = max((r.evaluation for r in self.log.records), default=0)
        event = ev.Replayed(
            records=self.log.unfinished(), highest=highest, at=self.at, position=len(self.log.records)
        )
        self.tell("m", event)
        for name in self.lives:
            if name != "m":
                self.later(self.pace(), lambda name=name: self.connect(name))

    def _rebuild_log(self) -> None:
        records, durable = self.log.records, self.log.durable
        self.log = Log()
        self.log.append(fx.Append(records=tuple(records), position=len(records)))
        self.log.durable = durable

    # --- people -------------------------------------------------------------------------------

    def submit(self, *suites: FakeSuite | str, request: str = "", **options: object) -> int:
        """Submit packages, or URLs that ``urls`` knows; the ticket."""
        sources = []
        for index, given in enumerate(suites):
            if isinstance(given, str):
                sources.append(rec.Source(name=given, url=f"https://git.example/{given}"))
                continue
            package = f"{len(self.suites):064x}"
            self.suites[package] = given
            sources.append(rec.Source(name=f"project{index}", package=package, size=1000))
        ticket = next(self._tickets)
        event = ev.Submitted(
            ticket=ticket, request=request or f"request {ticket}", options=Options(**options),  # type: ignore[arg-type]
            sources=tuple(sources), name="", at=self.at,
        )  # fmt: skip
        self.tell("m", event)
        return ticket

    def ask(self, query: m.Query) -> int:
        """Ask the master; the ticket."""
        ticket = next(self._tickets)
        self.tell("m", ev.Asked(ticket=ticket, query=query, at=self.at))
        return ticket

    # --- time ---------------------------------------------------------------------------------

    def pace(self) -> float:
        """A random short while."""
        return self.random.uniform(0.001, 0.2)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after so many seconds."""
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), do))

    def run(self, until: Callable[[], bool] | None = None, seconds: float = LONGEST) -> None:
        """Go on until ``until`` holds (default: every evaluation that was answered has ended)."""
        done = until or self.all_ended
        limit = self.now + seconds
        while not done():
            if self.now > limit:
                raise Stuck(f"not done after {seconds} virtual seconds\n{self.story()}")
            self._step()

    def story(self) -> str:
        """What the master did about the first evaluations that are not over."""
        unfinished = [number for number in range(1, 6) if number not in self.log.ended]
        return "\n".join(self.lives["m"].core.story(number) for number in unfinished)

    def run_for(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        limit = self.now + seconds
        self.run(lambda: self.now >= limit, seconds + 2.0)

    def settle(self, seconds: float = 5.0) -> None:
        """Let what is on its way arrive."""
        self.run_for(seconds)

    def all_ended(self) -> bool:
        """Whether all accepted evaluations are over, durably."""
        accepted = {r.evaluation for r in self.log.records if isinstance(r, rec.Accepted)}
        return (
            self.log.durable == len(self.log.records) and bool(accepted) and accepted <= set(self.log.ended)
        )

    def _step(self) -> None:
        tick = self.now + 1.0
        for life in self.lives.values():
            deadline = life.core.next_deadline() if life.alive else None
            if deadline is not None:
                tick = min(tick, max(deadline, self.now + 0.001))
        if self._agenda and self._agenda[0][0] <= tick:
            self.now, _, do = heapq.heappop(self._agenda)
            do()
            return
        self.now = tick
        for name in [name for name, life in self.lives.items() if life.alive]:
            self.tell(name, ev.Tick(at=self.at))

    # --- events and effects -------------------------------------------------------------------

    def tell(self, name: str, event: ev.AnyEvent) -> None:
        """Give a node an event and carry out what it wants."""
        life = self.lives[name]
        if not life.alive:
            return
        for effect in life.core.handle(event, self.now):
            self._carry_out(life, effect)
        life.core.validate()

    def _carry_out(self, life: Life, effect: fx.AnyEffect) -> None:
        if isinstance(effect, fx.Append):
            self.log.append(effect)
            self.later(self.random.uniform(0.0, 0.05), lambda: self._commit(life, effect.position))
        elif isinstance(effect, fx.Send):
            self._send(life.name, effect)
        elif isinstance(effect, fx.Answer):
            self._check_answer(effect)
            self.answers[effect.ticket] = effect
        elif isinstance(effect, fx.Clone):
            self.later(self.pace(), lambda: self._cloned(life, effect))
        elif isinstance(effect, fx.Recall):
            self.recalls.append(effect)
            if self.recalled:
                event = ev.Recalled(
                    evaluation=effect.evaluation, project=effect.project, seconds=self.recalled
                )
                self.later(0.001, lambda: self.tell(life.name, event))
        elif isinstance(effect, fx.StartSession):
            self._start_runner(life, effect.open)
        elif isinstance(effect, fx.RunInSession):
            self._command(life, effect.run.session, effect.run)
        elif isinstance(effect, fx.WithdrawInSession):
            self._command(life, effect.session, (effect.assignment, effect.tail))
        elif isinstance(effect, fx.EndSession):
            self._end_runner(life, effect)
        elif isinstance(effect, fx.Disconnect):
            self.later(0.3, lambda: self.cut(life.name))
        elif isinstance(effect, fx.Stop):
            assert not life.runners, "a node may not stop while its runners live"
            life.stopped = True
            self.later(0.4, lambda: self.kill(life.name))

    def _commit(self, life: Life, position: int) -> None:
        if life.alive and self.lives["m"] is life and position <= len(self.log.records):
            self.log.durable = max(self.log.durable, position)
            self.tell("m", ev.Committed(position=position))

    def _send(self, sender: str, effect: fx.Send) -> None:
        assert effect.node != sender, f"a message to itself left {sender}: {effect.message}"
        link = self._links.get((sender, effect.node))
        if link is None:
            return
        if isinstance(effect.message, m.Answered) and self.batch == 1:
            self._check_answered(effect.message)
        arrival = max(
            self.now + self.random.uniform(0.0005, 0.02), self._last.get((sender, effect.node), 0.0)
        )
        self._last[sender, effect.node] = arrival
        self.messages.append((sender, effect.node, effect.message))

        def arrive() -> None:
            if self._links.get((sender, effect.node)) == link:
                self.tell(effect.node, ev.Received(node=sender, message=effect.message))

        heapq.heappush(self._agenda, (arrival, next(self._order), arrive))

    def _check_answer(self, answer: fx.Answer) -> None:
        if answer.status == 202 and isinstance(answer.body, dict) and "id" in answer.body:
            durable = self.log.records[: self.log.durable]
            known = {r.evaluation for r in durable if isinstance(r, rec.Accepted)}
            assert answer.body["id"] in known, "an id was answered before it was durable"

    def _check_answered(self, message: m.Answered) -> None:
        """Every verdict answered as recorded is durable."""
        durable = self.log.records[: self.log.durable]
        attempts = sum(isinstance(r, rec.Attempted) and r.assignment == message.assignment for r in durable)
        assert attempts >= message.upto - len(message.superseded) - self._superseded(message), (
            f"{message} was sent before its verdicts were durable"
        )

    def _superseded(self, message: m.Answered) -> int:
        earlier = {
            number
            for _, _, said in self.messages
            if isinstance(said, m.Answered) and said.assignment == message.assignment
            for number in said.superseded
        }
        return len(earlier - set(message.superseded))

    def _cloned(self, life: Life, effect: fx.Clone) -> None:
        suite = self.urls.get(effect.url.rsplit("/", 1)[1])
        if suite is None:
            self.tell(
                life.name,
                ev.CloneFailed(
                    evaluation=effect.evaluation, project=effect.project, message="repository not found"
                ),
            )
            return
        package = f"{len(self.suites):064x}"
        self.suites[package] = suite
        self.tell(
            life.name,
            ev.Cloned(evaluation=effect.evaluation, project=effect.project, package=package, size=1000),
        )

    # --- runners ------------------------------------------------------------------------------

    def _start_runner(self, life: Life, opened: m.OpenSession) -> None:
        busy = [runner.open.slot for runner, _ in life.runners.values()]
        assert opened.slot not in busy, f"slot {opened.slot} of {life.name} is taken"
        assert opened.slot < max(self.slots[life.name], 1), f"{life.name} has no slot {opened.slot}"

        def say(messages: tuple[m.AnyMessage, ...]) -> None:
            ended = any(isinstance(message, m.SessionEnded) for message in messages)
            if ended:
                life.runners.pop(opened.session, None)
            self.tell(life.name, ev.SessionSaid(session=opened.session, messages=messages))

        runner = FakeRunner(
            self.suites[opened.package], opened, say, self.once, self.first, self.pace, self.ran, self.batch
        )
        life.runners[opened.session] = (runner, runner.life())
        self._go_on(life, opened.session)

    def _go_on(self, life: Life, session: AssignmentId) -> None:
        if not life.alive or session not in life.runners:
            return
        wait = next(life.runners[session][1], None)
        if wait is not None:
            self.later(wait, lambda: self._go_on(life, session))

    def _command(
        self, life: Life, session: AssignmentId, command: m.Run | tuple[AssignmentId, bool] | None
    ) -> None:
        if session not in life.runners:
            return
        runner = life.runners[session][0]
        runner.inbox.append(command)
        if runner.waiting:
            runner.waiting = False
            self.later(0.0, lambda: self._go_on(life, session))

    def _end_runner(self, life: Life, effect: fx.EndSession) -> None:
        if effect.session not in life.runners:
            return
        if not effect.kill:
            self._command(life, effect.session, None)
            return
        runner = life.runners[effect.session][0]
        runner.ended = True

        def gone() -> None:
            if life.alive and life.runners.pop(effect.session, None) is not None:
                ended = m.SessionEnded(session=effect.session, how="killed", message=effect.why)
                self.tell(life.name, ev.SessionSaid(session=effect.session, messages=(ended,)))

        life.runners[effect.session] = (runner, iter(()))
        self.later(self.pace(), gone)
