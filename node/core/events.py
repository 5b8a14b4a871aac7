"""What can happen to a node. ``ClusterState.handle(event, now)`` takes one of these.

Events are facts from outside: bytes that arrived, a timer, a child process, a disk. ``now`` is
CLOCK_BOOTTIME in seconds; ``at`` fields are Unix time. ``Persisted``, ``SnapshotFetched`` and
``Compacted`` of ``voting_events`` belong here too: what the disk says of the replicated log.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from node.core.records import AnyRecord, Joined, Source
from node.core.voting_events import Compacted, Persisted, SnapshotFetched
from proto.messages import AnyMessage, AssignmentId, Options, Query
from proto.voting import Epoch, OfferHistory


class Event(Struct, frozen=True, kw_only=True):
    """Base of the events."""


class Tick(Event, frozen=True, kw_only=True):
    """The deadline that ``next_deadline`` named has come. ``at`` is Unix time in seconds."""

    at: float


class Replayed(Event, frozen=True, kw_only=True):
    """The end of ``Load``: what the tables hold when everything committed before is in them."""

    epoch: Epoch
    """Of the reign that asked for it."""
    records: tuple[AnyRecord, ...]
    """Of unfinished evaluations, and what audits found."""
    highest: int
    """The highest evaluation id ever given."""
    members: tuple[Joined, ...] = ()
    at: float


class PeerUp(Event, frozen=True, kw_only=True):
    """A control connection is authenticated, whoever dialled."""

    node: str
    address: str
    incarnation: int


class PeerDown(Event, frozen=True, kw_only=True):
    """The control connection is gone. ``by_peer``: its FIN or RST came; ``bye``: it said so before;
    ``replaced``: by another one with the same node, whose ``PeerUp`` follows."""

    node: str
    incarnation: int
    by_peer: bool
    bye: bool = False
    replaced: bool = False
    reason: str = ""


class Dialled(Event, frozen=True, kw_only=True):
    """A ``Dial`` ended. ``answered``: somebody completed the handshake as this node, or (``node`` then
    names whom it was) another one; ``refused``: RST on connect; ``unanswered``: anything else."""

    node: str
    how: Literal["answered", "refused", "unanswered"]
    incarnation: int = 0


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
    """A checked submission: archives are opened and packed, URLs are allowed and not yet cloned.

    ``holders`` are the other nodes that have every package of it on disk.
    """

    ticket: int
    request: str
    options: Options
    sources: tuple[Source, ...]
    name: str
    at: float
    holders: frozenset[str] = frozenset()
    token: bool = False


class Cloned(Event, frozen=True, kw_only=True):
    """The end of a ``Clone`` effect that worked; ``holders`` as above."""

    evaluation: int
    project: int
    package: str
    size: int
    notes: tuple[str, ...] = ()
    holders: frozenset[str] = frozenset()


class CloneFailed(Event, frozen=True, kw_only=True):
    evaluation: int
    project: int
    message: str
    log: str = ""


class Equipped(Event, frozen=True, kw_only=True):
    """The end of an ``Equip`` effect: the node has these packages on disk, or (``ok`` false) not all."""

    node: str
    packages: frozenset[str]
    ok: bool


class Recalled(Event, frozen=True, kw_only=True):
    """The end of a ``Recall`` effect: module -> seconds its tests took the last time."""

    evaluation: int
    project: int
    seconds: dict[str, float]


class Committed(Event, frozen=True, kw_only=True):
    """Everything up to and with this position is committed, and in this node's tables."""

    position: int


class Compared(Event, frozen=True, kw_only=True):
    """The end of a ``Compare``: what the tables know of the evaluation."""

    node: str
    history: str
    evaluation: int
    known: bool
    ended: Epoch | None = None
    """The epoch in which it was ended, if it is over."""
    settled: bool = False
    """This offer was dealt with before."""


class Parted(Event, frozen=True, kw_only=True):
    """Histories of this node that are not the cluster's wait here to be merged; all of them, in order."""

    offers: tuple[OfferHistory, ...]


class HistoryRead(Event, frozen=True, kw_only=True):
    """The end of a ``ReadHistory``."""

    history: str
    evaluation: int
    part: int
    last: bool
    body: bytes


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
    | Dialled
    | Received
    | Asked
    | Submitted
    | Cloned
    | CloneFailed
    | Equipped
    | Recalled
    | Committed
    | Compared
    | Parted
    | HistoryRead
    | SessionSaid
    | Stopping
    | Persisted
    | SnapshotFetched
    | Compacted
)
