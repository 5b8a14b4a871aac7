"""Verdicts a second that the core alone accepts: one ``ClusterState``, no socket, disk or runner.

The suite is played to a master of eight slots as workers would tell it. The processor time of the
whole run counts, from the submission to its end, what the play itself takes included.
"""

from __future__ import annotations

import gc
import time
from collections import deque

from bench.rounds import interleaved, markdown, median
from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.core.timing import LAN
from node.core.voting_events import Commit, Persist, Persisted, found
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId, Options, TestId, Verdict

SLOTS = 8
SHAPES = ((20_000, 2), (400, 100), (1, 40_000))
"""(modules, tests in each)."""
BATCHES = (1, 50)
"""Verdicts in one message. A worker sends what comes within 20 ms, at most 200."""


def table(rounds: int) -> str:
    """One row per shape of suite and size of batch."""
    cases = [(modules, tests, batch) for modules, tests in SHAPES for batch in BATCHES]
    ways = {str(case): lambda case=case: Play(*case).rate() for case in cases}
    rates = interleaved(ways, rounds)
    rows = [[f"{m:,} x {t:,}", str(b), median(rates[str((m, t, b))], 0)] for m, t, b in cases]
    return markdown("Core alone", ["modules x tests", "verdicts a message", "verdicts a second"], rows)


class Play:
    """One run of one suite, from the submission to its end."""

    def __init__(self, modules: int, tests: int, batch: int) -> None:
        self._names = tuple(f"tests/test_m{number}.py" for number in range(modules))
        self._tests, self._batch = tests, batch
        self._sessions: dict[AssignmentId, deque[m.Run]] = {}
        self._waiting: deque[tuple[str, AnyMessage]] = deque()
        self._clock = 0.0
        self._accepted = 0
        self._over = False
        self._wanted: deque[fx.AnyEffect] = deque()
        self._core = ClusterState(
            CoreSettings(replicas=0),
            node="m",
            address="m:7000",
            incarnation=1,
            slots=0,
            alone=0,
            saved=found("m"),
            timing=LAN,
            now=0.0,
        )

    def rate(self) -> float:
        """Verdicts a second."""
        gc.collect()
        started = time.process_time()
        self._clock = LAN.suspect
        self._handle(ev.Tick(at=0.0))
        assert self._core.is_master
        for number in range(SLOTS):
            address = f"w{number}:7000"
            self._handle(ev.PeerUp(node=f"w{number}", address=address, incarnation=1))
            self._say(f"w{number}", m.Join(address=address, slots=1))
            self._say(f"w{number}", m.Reported())
        source = rec.Source(name="p", package="0" * 64, size=1)
        options = Options(collection="lazy")
        self._handle(ev.Submitted(ticket=1, request="r", options=options, sources=(source,), name="", at=0.0))
        while self._waiting:
            self._say(*self._waiting.popleft())
        assert self._over, "the run did not come to its end"
        assert self._accepted == len(self._names) * self._tests
        return self._accepted / (time.process_time() - started)

    def _say(self, node: str, message: AnyMessage) -> None:
        self._handle(ev.Received(node=node, message=message))

    def _handle(self, event: ev.AnyEvent) -> None:
        self._clock += 1e-6
        self._wanted.extend(self._core.handle(event, self._clock))
        while self._wanted:
            self._carry_out(self._wanted.popleft())

    def _carry_out(self, effect: fx.AnyEffect) -> None:
        """The disk and the tables are there at once; the workers answer in their turn."""
        if isinstance(effect, Persist):
            for entry in effect.records:
                record = rec.decode(entry.payload) if entry.payload else None
                self._accepted += isinstance(record, rec.Attempted)
                self._over = self._over or isinstance(record, rec.Ended)
            self._handle(Persisted(number=effect.number))
        elif isinstance(effect, Commit):
            self._handle(ev.Committed(position=effect.upto))
        elif isinstance(effect, fx.Load):
            self._handle(ev.Replayed(epoch=effect.epoch, records=(), highest=0, at=0.0))
        elif isinstance(effect, fx.Send):
            self._worker(effect.node, effect.message)

    def _worker(self, node: str, message: AnyMessage) -> None:
        """What a worker and its runner would answer, in order."""
        say = self._waiting.append
        if isinstance(message, m.OpenSession):
            whole = message.mode == "whole"
            if whole:
                for name in self._names:
                    say((node, m.Listing(session=message.session, module=name, tests=self._ids(name))))
            say((node, m.SessionOpened(session=message.session, modules=self._names)))
        elif isinstance(message, m.CloseSession):
            say((node, m.SessionEnded(session=message.session, how="closed")))
        elif isinstance(message, m.Run):
            tests = message.select or self._ids(message.module)
            for start in range(0, len(tests), 2000):
                part, last = tests[start : start + 2000], start + 2000 >= len(tests)
                collected = m.Collected(
                    assignment=message.assignment, module=message.module, tests=part, last=last
                )
                say((node, collected))
            for start in range(0, len(tests), self._batch):
                verdicts = tuple(
                    Verdict(test=test, outcome="passed", module=message.module, seconds=0.01)
                    for test in tests[start : start + self._batch]
                )
                say((node, m.Verdicts(assignment=message.assignment, first=start, verdicts=verdicts)))
            say((node, m.Done(assignment=message.assignment)))

    def _ids(self, module: str) -> tuple[TestId, ...]:
        return tuple(TestId(f"{module}::test_{number}") for number in range(self._tests))
