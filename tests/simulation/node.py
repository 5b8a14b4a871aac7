"""One simulated node, and the weather that all of them live in."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core.replication import Replica
from node.core.voting_events import ReplicaEvent
from tests.simulation.disk import Disk


@dataclass
class Weather:
    """How the network and the disks behave. Seconds and probabilities."""

    delay: float = 0.002
    jitter: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    """A message that takes up to ten times as long, and so overtakes nobody and is overtaken."""
    write: float = 0.004
    write_jitter: float = 0.0


@dataclass
class Node:
    """One node: a disk for ever, a replica while it runs."""

    name: str
    disk: Disk
    incarnation: int = 0
    replica: Replica | None = None
    paused: bool = False
    leaving: bool = False
    quiet_death: bool = False
    """It lost its power: no kernel is left to refuse a connection."""
    inbox: list[ReplicaEvent] = field(default_factory=list)
    tick_at: float = -1.0
    writes_end: float = 0.0
    pending: dict[int, tuple[bytes, object]] = field(default_factory=dict)
    """Records placed here and not yet acknowledged: position to payload and epoch."""

    @property
    def up(self) -> bool:
        return self.replica is not None
