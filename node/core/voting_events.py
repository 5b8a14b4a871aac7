"""What can happen to a ``Replica``, and what it wants done.

Ordering rule: effects are carried out in the order of the list. ``Persist`` effects go to one
writer, in order, which may join several into one transaction; ``Persisted`` names the last that is
on disk. A ``Send`` may overtake the disk: where a message relies on it, the replica holds it back.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from proto.voting import EMPTY, Epoch, LogRecord, Mark, VotingMessage


class Saved(Struct, frozen=True, kw_only=True):
    """What a replica finds on its disk. A worker without a log starts with all defaults."""

    counter: int = 0
    voted: str = ""
    commit: int = 0
    base: Mark = EMPTY
    base_voters: tuple[str, ...] = ()
    records: tuple[LogRecord, ...] = ()


def found(node: str) -> Saved:
    """The disk of a cluster's founder: one record, which names its only voter."""
    first = LogRecord(Epoch(1, node), 1, b"", (node,))
    return Saved(counter=1, voted=node, commit=1, records=(first,))


# --- events -----------------------------------------------------------------------------------


class Event(Struct, frozen=True, kw_only=True):
    """Base of the events."""


class Tick(Event, frozen=True, kw_only=True):
    """The deadline that ``next_deadline`` named has come."""


class Received(Event, frozen=True, kw_only=True):
    """One message. ``incarnation`` is the peer's count of starts, kept on its disk."""

    node: str
    incarnation: int
    message: VotingMessage


class PeerUp(Event, frozen=True, kw_only=True):
    """A new authenticated connection: this incarnation lives, whatever was believed."""

    node: str
    incarnation: int


class PeerDied(Event, frozen=True, kw_only=True):
    """Evidence of death of one incarnation (never a timeout)."""

    node: str
    incarnation: int


class Rival(Event, frozen=True, kw_only=True):
    """This node says that it is master as well."""

    node: str


class Roster(Event, frozen=True, kw_only=True):
    """Master only: live nodes that could hold the log, by join, voters included."""

    nodes: tuple[str, ...]
    replicas: int


class Append(Event, frozen=True, kw_only=True):
    """Master only: make these durable. Answered by ``Placed`` or ``Refused``."""

    ticket: int
    payloads: tuple[bytes, ...]


class Persisted(Event, frozen=True, kw_only=True):
    """Every ``Persist`` up to and with this number is on disk."""

    number: int


class SnapshotFetched(Event, frozen=True, kw_only=True):
    """The end of ``FetchSnapshot``: the bytes are verified and wait to be installed."""

    upto: Mark
    voters: tuple[str, ...]


class Compacted(Event, frozen=True, kw_only=True):
    """The shell's snapshot covers the log up to this committed position."""

    position: int


class Leave(Event, frozen=True, kw_only=True):
    """This node drains and wants out of the voters. ``incarnation`` is its own."""

    incarnation: int


ReplicaEvent: TypeAlias = (
    Tick
    | Received
    | PeerUp
    | PeerDied
    | Rival
    | Roster
    | Append
    | Persisted
    | SnapshotFetched
    | Compacted
    | Leave
)


# --- effects ----------------------------------------------------------------------------------


class Effect(Struct, frozen=True, kw_only=True):
    """Base of the effects."""


class Persist(Effect, frozen=True, kw_only=True):
    """Write in one transaction, in this order: ``snapshot`` replaces log and state, then the log
    is cut from ``truncate_from`` on, then ``records`` follow, with counter, vote and commit."""

    number: int
    counter: int
    voted: str
    commit: int
    snapshot: Mark | None = None
    snapshot_voters: tuple[str, ...] = ()
    truncate_from: int | None = None
    records: tuple[LogRecord, ...] = ()


class Send(Effect, frozen=True, kw_only=True):
    """Queue for a peer. A peer that is gone loses it."""

    node: str
    message: VotingMessage


class Commit(Effect, frozen=True, kw_only=True):
    """Everything up to ``upto`` is committed and on this disk; ``records`` are the new ones."""

    upto: int
    records: tuple[LogRecord, ...]


class BecomeMaster(Effect, frozen=True, kw_only=True):
    """The first record of this node's own epoch is committed: it may act as master.

    ``alone``: it took over without the other voter's vote. Evaluation ids then start at
    ``failover.blocks``. ``again``: it was master before, and went on after silence.
    """

    epoch: Epoch
    alone: bool = False
    again: bool = False


class StepDown(Effect, frozen=True, kw_only=True):
    """Stop acting as master of this epoch, now."""

    epoch: Epoch
    reason: str


class Isolation(Effect, frozen=True, kw_only=True):
    """Without a majority: deal no work, answer no reads (``isolated``); or again with one."""

    isolated: bool


class TruncateTail(Effect, frozen=True, kw_only=True):
    """These records leave the log; comes before the ``Persist`` that removes them.

    ``committed``: this node had committed them while two masters existed (two voters, a forged
    close). They are to be merged, not forgotten: what the tables hold is set aside before the ``Persist``
    begins again with nothing. From ``truncate_from`` on, at the latest, the two histories differ.
    """

    truncate_from: int
    records: tuple[LogRecord, ...]
    committed: bool


class Placed(Effect, frozen=True, kw_only=True):
    """The payloads of ``ticket`` are in the log at ``first`` to ``last``; wait for ``Commit``.

    They may still be lost if this node steps down before.
    """

    ticket: int
    first: int
    last: int


class Refused(Effect, frozen=True, kw_only=True):
    """Not the acting master; ``hint`` is the node to ask, or empty."""

    ticket: int
    hint: str


class FetchSnapshot(Effect, frozen=True, kw_only=True):
    """Fetch the peer's snapshot (at ``upto`` or later) and post ``SnapshotFetched``."""

    node: str
    upto: Mark


class VotersChanged(Effect, frozen=True, kw_only=True):
    """A voters record is committed."""

    voters: tuple[str, ...]


ReplicaEffect: TypeAlias = (
    Persist
    | Send
    | Commit
    | BecomeMaster
    | StepDown
    | Isolation
    | TruncateTail
    | Placed
    | Refused
    | FetchSnapshot
    | VotersChanged
)
