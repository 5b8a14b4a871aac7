"""One node of the simulated cluster: its disk for ever, its process while it lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.core import effects as fx
from node.core import events as ev
from node.core.cluster import ClusterState
from node.core.voting_events import Commit, Persist, Saved, TruncateTail
from proto.messages import AssignmentId
from proto.voting import EMPTY, LogRecord, Mark
from tests.core.fakerunner import FakeRunner
from tests.simulation.whole.asides import Asides
from tests.simulation.whole.facts import Facts

Write = Persist | Commit | fx.Load | TruncateTail
"""What the writer carries out."""
Runner = tuple[FakeRunner, Iterator[float | None]]


@dataclass
class NodeDisk:
    """What a process finds again: the log as the last complete write left it, and how far the tables are.

    The tables hold the first ``applied`` of ``facts``, which all disks of a cluster share.
    """

    incarnation: int = 0
    counter: int = 0
    voted: str = ""
    commit: int = 0
    base: Mark = EMPTY
    base_voters: tuple[str, ...] = ()
    records: list[LogRecord] = field(default_factory=list)
    applied: int = 0
    facts: Facts = field(default_factory=Facts)
    """The history that this disk has a beginning of."""
    asides: Asides = field(default_factory=Asides)
    packages: set[str] = field(default_factory=set)
    fetched: dict[Mark, tuple[tuple[str, ...], Facts]] = field(default_factory=dict)
    """Copies of other nodes' tables that wait to be installed."""

    def found(self, saved: Saved) -> None:
        """Begin with this."""
        self.counter, self.voted, self.commit = saved.counter, saved.voted, saved.commit
        self.records = list(saved.records)

    def empty(self) -> None:
        """Keep nothing but the vote, and what was set aside."""
        self.base, self.base_voters, self.commit, self.applied = EMPTY, (), 0, 0
        self.records.clear()

    @property
    def last(self) -> int:
        """The last position of the log."""
        return self.base.position + len(self.records)

    def write(self, persist: Persist) -> None:
        """One transaction."""
        self.counter, self.voted, self.commit = persist.counter, persist.voted, persist.commit
        if persist.snapshot is not None:
            self.base, self.base_voters = persist.snapshot, persist.snapshot_voters
            assert persist.snapshot == EMPTY or persist.snapshot in self.fetched, "nobody fetched this copy"
            _, self.facts = self.fetched.pop(persist.snapshot, ((), self.facts))
            self.records.clear()
            self.applied = self.base.position
        if persist.truncate_from is not None:
            assert persist.truncate_from > self.applied, "what is in the tables cannot be cut"
            del self.records[persist.truncate_from - self.base.position - 1 :]
        self.records.extend(persist.records)

    def ready(self, upto: int) -> list[LogRecord]:
        """Records up to ``upto`` that the tables do not hold."""
        start = self.base.position
        return self.records[self.applied - start : min(upto, self.last) - start]

    def voters_at(self, position: int) -> tuple[str, ...]:
        """The set of voters that was in the log at a position."""
        voters = self.base_voters
        for record in self.records[: position - self.base.position]:
            voters = record.voters if record.voters is not None else voters
        return voters

    def mark(self, position: int) -> Mark:
        """Epoch and position of a record that the log, or its base, has."""
        if position == self.base.position:
            return self.base
        return Mark(self.records[position - self.base.position - 1].epoch, position)

    def compact(self, position: int) -> None:
        """Let the tables stand for the log up to an applied position."""
        base, voters = self.mark(position), self.voters_at(position)
        del self.records[: position - self.base.position]
        self.base, self.base_voters = base, voters

    def saved(self) -> Saved:
        """What the next process begins with."""
        return Saved(
            counter=self.counter,
            voted=self.voted,
            commit=self.commit,
            base=self.base,
            base_voters=self.base_voters,
            records=tuple(self.records),
        )


@dataclass(eq=False)
class Process:
    """One life of a node: a core and the runners it started."""

    name: str
    incarnation: int
    disk: NodeDisk
    core: ClusterState
    runners: dict[AssignmentId, Runner] = field(default_factory=dict)
    alive: bool = True
    paused: bool = False
    stopped: bool = False
    """It has said that it is done."""
    inbox: list[ev.AnyEvent] = field(default_factory=list)
    """Events that wait while it is paused."""
    tick_at: float = -1.0
    writing: deque[Write] = field(default_factory=deque)
    batch: list[Write] = field(default_factory=list)
    """What the writer is at work on."""
    reigns: bool = False

    @property
    def awake(self) -> bool:
        """It lives and is not paused."""
        return self.alive and not self.paused
