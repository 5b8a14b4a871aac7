"""What a worker holds: its sessions, their assignments, and what may have to be said again of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from proto import messages as m
from proto.messages import AnyMessage, AssignmentId


@dataclass
class LocalRun:
    """One assignment: what was said of it, and the verdicts that the master has not answered."""

    run: m.Run
    collected: list[m.Collected] = field(default_factory=list)
    started: m.Started | None = None
    next: int = 0
    batches: deque[m.Verdicts] = field(default_factory=deque)
    handed: list[m.HandedBack] = field(default_factory=list)
    """What was given back of it while it goes on."""
    done: m.Done | m.HandedBack | None = None
    held: tuple[m.TestId, ...] = ()
    """Of the tests that it names, those that were not handed back."""

    def __post_init__(self) -> None:
        self.held = self.run.select

    @property
    def answered(self) -> int:
        """The number of the first verdict that is not answered."""
        return self.batches[0].first if self.batches else self.next

    def hand_back(self, message: m.HandedBack) -> None:
        """Some of it is not held any more, or all of it is kept."""
        self.handed.append(message)
        gone = set(message.tests)
        self.held = tuple(test for test in self.held if test not in gone)

    def report(self) -> list[AnyMessage]:
        """What is held of it; nothing if all that it named was handed back."""
        if self.run.select and not self.held:
            return []
        run = msgspec.structs.replace(self.run, select=self.held)
        return [m.HeldRun(run=run, answered=self.answered)]

    def again(self) -> list[AnyMessage]:
        """What the master may not have."""
        started = [self.started] if self.started is not None else []
        done = [self.done] if self.done is not None else []
        return [*self.collected, *self.handed, *self.batches, *started, *done]


@dataclass
class LocalSession:
    """A session of this node and the assignments it was given."""

    open: m.OpenSession
    listings: list[m.Listing] = field(default_factory=list)
    opened: m.SessionOpened | None = None
    closing: bool = False
    void: bool = False
    """Nothing that it says counts any more."""
    ended: m.SessionEnded | None = None
    runs: dict[AssignmentId, LocalRun] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Ended, and nothing of it waits for an answer."""
        return self.ended is not None and not any(run.batches for run in self.runs.values())
