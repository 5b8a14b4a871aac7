"""From a fault to the next accepted verdict, and how long nobody answered: arithmetic on observations."""

from __future__ import annotations

from dataclasses import dataclass, field

ENOUGH = 60
"""Tests without a verdict that must be left for a gap to say anything: fewer may all be waiting for
the run's last steps (failures are confirmed last)."""


@dataclass
class _Open:
    at: float
    kind: str
    baseline: dict[int, int] = field(default_factory=dict)


@dataclass
class Gaps:
    """Feed it kills and observations in order of time (monotonic seconds)."""

    measured: list[tuple[str, float]] = field(default_factory=list)
    """(kind, seconds from the kill to the answer that showed a new verdict)."""
    _left: dict[int, int] = field(default_factory=dict)
    _open: list[_Open] = field(default_factory=list)

    def killed(self, at: float, kind: str) -> None:
        """A node was killed; it counts if there is enough to do."""
        if any(left >= ENOUGH for left in self._left.values()):
            self._open.append(_Open(at, kind))

    def seen(self, asked: float, answered: float, evaluation: int, executed: int, left: int) -> None:
        """An answer showed ``executed`` verdicts of an evaluation, and ``left`` tests without one."""
        self._left[evaluation] = left
        still = []
        for gap in self._open:
            # What was asked before the kill may have been answered by the one that was killed; and
            # the first answer after it may show verdicts accepted before: only growth counts.
            if asked >= gap.at and executed > gap.baseline.setdefault(evaluation, executed):
                self.measured.append((gap.kind, answered - gap.at))
            else:
                still.append(gap)
        self._open = still

    def over(self, evaluation: int) -> None:
        """An evaluation has ended; gaps that nothing is left to close say nothing."""
        self._left.pop(evaluation, None)
        if not any(left >= ENOUGH for left in self._left.values()):
            self._open.clear()

    def of(self, kind: str) -> list[float]:
        """The measured gaps of one kind, ascending."""
        return sorted(seconds for found, seconds in self.measured if found == kind)


@dataclass
class Availability:
    """The longest time between two good answers to somebody who asks all the time."""

    longest: float = 0.0
    _last: float | None = None

    def answered(self, at: float) -> None:
        """A good answer arrived."""
        if self._last is not None:
            self.longest = max(self.longest, at - self._last)
        self._last = at
