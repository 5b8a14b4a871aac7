"""What can happen to a node. ``ClusterState.handle(event, now)`` takes one of these.

Events are facts from outside: bytes that arrived, a timer, a child process, a disk. ``now`` is
seconds on a monotonic clock; ``at`` fields are Unix time.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from node.core.records import AnyRecord, Source
from proto.messages import AnyMessage, AssignmentId, Options, Query


class Event(Struct, frozen=True, kw_only=True):
    """Base of the events."""


class Tick(Event, frozen=True, kw_only=True):
    """The deadline that ``next_deadline`` named has come. ``at`` is Unix time in seconds."""

    at: float


class Replayed(Event, frozen=True, kw_only=True):
    """The records of unfinished evaluations, and the highest evaluation id ever given."""

    records: tuple[AnyRecord, ...]
    highest: int
    position: int = 0
    """Of the last record of the log."""
    at: float


class PeerUp(Event, frozen=True, kw_only=True):
    """A control connection to this node is authenticated. ``founder``: we dialled it as master."""

    node: str
    address: str
    epoch: int


class PeerDown(Event, frozen=True, kw_only=True):
    """The control connection is gone. ``evidence``: FIN, RST or refusal, not mere silence."""

    node: str
    evidence: bool
    reason: str


class Received(Event, frozen=True, kw_only=True):
    """One message from an authenticated peer."""

    node: str
    message: AnyMessage


class Asked(Event, frozen=True, kw_only=True):
    """A request that decides or needs live state (submit, cancel, drain, network, health).

    ``ticket`` is the shell's handle for the answer.
    """

    ticket: int
    query: Query
    at: float


class Submitted(Event, frozen=True, kw_only=True):
    """A checked submission: archives are opened and packed, URLs are allowed and not yet cloned."""

    ticket: int
    request: str
    options: Options
    sources: tuple[Source, ...]
    name: str
    at: float


class Cloned(Event, frozen=True, kw_only=True):
    """The end of a ``Clone`` effect that worked."""

    evaluation: int
    project: int
    package: str
    size: int
    notes: tuple[str, ...] = ()


class CloneFailed(Event, frozen=True, kw_only=True):
    evaluation: int
    project: int
    message: str
    log: str = ""


class Recalled(Event, frozen=True, kw_only=True):
    """The end of a ``Recall`` effect: module -> seconds its tests took the last time."""

    evaluation: int
    project: int
    seconds: dict[str, float]


class Committed(Event, frozen=True, kw_only=True):
    """Everything appended up to and with this position is durable."""

    position: int


class SessionSaid(Event, frozen=True, kw_only=True):
    """Worker side: a local session has a message for the master (``SessionOpened``, ``Listing``,
    ``Collected``, ``Started``, ``Verdicts`` with ``first`` unset, ``Done``, ``HandedBack``)."""

    session: AssignmentId
    messages: tuple[AnyMessage, ...]


class Stopping(Event, frozen=True, kw_only=True):
    """SIGTERM, or a drain: leave in order."""


AnyEvent: TypeAlias = (
    Tick
    | Replayed
    | PeerUp
    | PeerDown
    | Received
    | Asked
    | Submitted
    | Cloned
    | CloneFailed
    | Recalled
    | Committed
    | SessionSaid
    | Stopping
)
