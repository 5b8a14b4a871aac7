"""How late the loop is: a greenlet sleeps a short time on the hub's timer and notes how late it woke.

Heartbeats and verdicts are late by as much. Whatever keeps the loop is in it: a callback that works
for long, threads that hold the interpreter, a machine that has no processor left for this process.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import gevent

log = logging.getLogger("testring.node")

INTERVAL = 0.01
"""Seconds between two looks; a lag is seen up to so much shorter than it was."""
SPAN = 5.0
SPANS = 12
"""``recent`` looks back over so many spans of ``SPAN`` seconds, the present one included."""
NOTABLE = 0.5
"""Seconds of lag that are worth a line in the log, one in each span."""


class LoopLag:
    """The largest lags, in seconds: since the start, and of the last minute.

    Args:
        clock: seconds that only grow.
        sleep: lets the loop run for so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._spans: deque[tuple[int, float]] = deque(maxlen=SPANS)
        """(number of the span, largest lag in it), oldest first."""
        self.largest = 0.0

    @property
    def recent(self) -> float:
        """The largest lag of the last minute."""
        oldest = self._span() - SPANS
        return max((lag for span, lag in self._spans if span > oldest), default=0.0)

    def shown(self) -> dict[str, float]:
        """As ``/health`` says it, in milliseconds."""
        return {"largest_ms": round(1000 * self.largest, 1), "recent_ms": round(1000 * self.recent, 1)}

    def run(self) -> None:
        """Look until the greenlet is killed."""
        while True:
            due = self._clock() + INTERVAL
            self._sleep(INTERVAL)
            self._note(max(0.0, self._clock() - due))

    def _note(self, lag: float) -> None:
        span = self._span()
        before = 0.0
        if self._spans and self._spans[-1][0] == span:
            _, before = self._spans.pop()
        self._spans.append((span, max(before, lag)))
        self.largest = max(self.largest, lag)
        if lag >= NOTABLE > before:
            log.warning("the loop was %.0f ms late: heartbeats and answers waited so long", 1000 * lag)

    def _span(self) -> int:
        return int(self._clock() / SPAN)
