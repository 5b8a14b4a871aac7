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
    found = interleaved(ways, rounds)
    rows = [[f"{m:,} x {t:,}", str(b), median(found[str((m, t, b))], 0)] for m, t, b in cases]
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
        settings = CoreSettings()
        self._core = ClusterState(
            settings, node="m", address="m:7000", slots=0, alone=0, epoch=1, master=True
        )

    def rate(self) -> float:
        """Verdicts a second."""
        gc.collect()
        started = time.process_time()
        self._handle(ev.Replayed(records=(), highest=0, at=0.0))
        for number in range(SLOTS):
            self._say(f"w{number}", m.Join(address=f"w{number}:7000", slots=1))
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
        self._clock += 1e-5
        for effect in self._core.handle(event, self._clock):
            if isinstance(effect, fx.Append):
                self._accepted += sum(isinstance(record, rec.Attempted) for record in effect.records)
                self._over = self._over or any(isinstance(record, rec.Ended) for record in effect.records)
                self._handle(ev.Committed(position=effect.position))
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
