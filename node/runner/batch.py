"""Verdicts of one runner on their way out: few messages, little delay, bounded size."""

from __future__ import annotations

import time

from proto.messages import AnyMessage, AssignmentId, Started, TestId, Verdict, Verdicts

MOST = 200
MOST_BYTES = 512 << 10
DELAY = 0.02
"""Seconds a verdict or a start may wait for company."""


class Batch:
    """Collects verdicts of one assignment after the other, and the start of the test that runs."""

    def __init__(self) -> None:
        self._assignment: AssignmentId | None = None
        self._verdicts: list[Verdict] = []
        self._bytes = 0
        self._started: Started | None = None
        self.due: float | None = None
        """When it must be taken (``time.monotonic()``); None while it is empty."""

    def started(self, assignment: AssignmentId, test: TestId) -> None:
        self._started = Started(assignment=assignment, test=test)
        self._touched()

    def verdict(self, assignment: AssignmentId, verdict: Verdict) -> list[AnyMessage]:
        """Add one; what must be sent because of it. A start whose verdict is here says nothing more."""
        out = self.take() if self._assignment not in (None, assignment) else []
        self._assignment = assignment
        if self._started is not None and self._started.test == verdict.test:
            self._started = None
        self._verdicts.append(verdict)
        texts = (verdict.message, verdict.traceback, verdict.output, verdict.test.nodeid)
        self._bytes += 200 + sum(map(len, texts))
        if len(self._verdicts) >= MOST or self._bytes >= MOST_BYTES:
            out += self.take()
        self._touched()
        return out

    def take(self) -> list[AnyMessage]:
        """Everything that waits, in order."""
        out: list[AnyMessage] = []
        if self._verdicts and self._assignment is not None:
            out.append(Verdicts(assignment=self._assignment, first=0, verdicts=tuple(self._verdicts)))
        if self._started is not None:
            out.append(self._started)
        self._assignment, self._verdicts, self._bytes, self._started = None, [], 0, None
        self.due = None
        return out

    def _touched(self) -> None:
        if self.due is None and (self._verdicts or self._started is not None):
            self.due = time.monotonic() + DELAY
