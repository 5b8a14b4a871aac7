"""What voters say to each other, and the words it is said in.

Every message travels between two authenticated nodes; the sender and its incarnation come from the
handshake, so no message repeats them. All stamps are seconds on the clock of the node that made
them: a peer only ever returns a stamp, it never compares one with its own clock.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from proto.words import Count, Message, Name, Sha256


class Epoch(Struct, frozen=True, array_like=True, order=True, gc=False):
    """A master's term. Ordered by counter, then node, so that two masters never share one."""

    counter: Count
    node: Name

    def __str__(self) -> str:
        return f"{self.counter}.{self.node}"


class Mark(Struct, frozen=True, array_like=True, order=True, gc=False):
    """The end of a log: the last record's epoch, then its position. The larger log is the newer."""

    epoch: Epoch
    position: Count

    def __str__(self) -> str:
        return f"{self.epoch}#{self.position}"


NO_EPOCH = Epoch(0, "")
EMPTY = Mark(NO_EPOCH, 0)


class LogRecord(Struct, frozen=True, array_like=True, gc=False):
    """One record. ``payload`` is opaque here; a record with ``voters`` names the log-holders.

    The first record of every epoch is a voters record, which repeats the set if nothing changes.
    """

    epoch: Epoch
    position: Count
    payload: bytes = b""
    voters: tuple[Name, ...] | None = None


class AppendEntries(Message, frozen=True, kw_only=True):
    """Master to a log-holder: records that follow ``previous``. Without records it is a ping."""

    epoch: Epoch
    previous: Mark
    records: tuple[LogRecord, ...] = ()
    commit: Count = 0
    last: Count = 0
    """Position of the master's last record."""
    stamp: float = 0.0
    echo: float = 0.0
    """The newest stamp this voter sent; 0 for none, and for a node that is no voter."""


class AppendAnswer(Message, frozen=True, kw_only=True):
    """The answer: everything up to ``stored`` equals the master's log and is on this disk."""

    epoch: Epoch
    """Of the append that is answered."""
    following: Epoch
    """The highest epoch this node follows; higher than ``epoch`` tells a master it is stale."""
    counter: Count
    accepted: bool
    stored: Count = 0
    commit: Count = 0
    """What this node knows to be committed, and would still know after a crash."""
    previous: Count = 0
    """Refused: the position that did not match."""
    hint: Count = 0
    """Refused: the highest position that may still match."""
    anew: bool = False
    """Refused: this log is empty, whatever was answered before."""
    stamp: float = 0.0
    echo: float = 0.0


class InstallSnapshot(Message, frozen=True, kw_only=True):
    """Master to a log-holder: what you lack is no longer in my log; fetch the state at ``upto``."""

    epoch: Epoch
    upto: Mark
    voters: tuple[Name, ...]
    last: Count
    stamp: float = 0.0


class PreVote(Message, frozen=True, kw_only=True):
    """Would you vote for me in this epoch? Binds nobody and changes nothing."""

    epoch: Epoch
    last: Mark


class Vote(Message, frozen=True, kw_only=True):
    """Vote for me in this epoch. The answer is on disk before it is sent."""

    epoch: Epoch
    last: Mark


class VoteAnswer(Message, frozen=True, kw_only=True):
    """To ``PreVote`` (``binding`` false) and ``Vote``. ``counter`` is the highest the voter knows,
    ``commit`` the end of what it knows to be committed: a candidate that has this in its own log
    learns which sets of voters are history and need not agree any more."""

    epoch: Epoch
    binding: bool
    granted: bool
    counter: Count
    commit: Mark = EMPTY
    reason: Name = ""


class Resigned(Message, frozen=True, kw_only=True):
    """The master of this epoch left the voters in order: elect another without waiting."""

    epoch: Epoch


class LeaveVoters(Message, frozen=True, kw_only=True):
    """Voter to master: I drain; take me out of the voters before I go."""


class Evidence(Message, frozen=True, kw_only=True):
    """That incarnation of the node is dead: refused, or closed by itself and never seen again."""

    node: Name
    incarnation: Count


class SilenceReport(Message, frozen=True, kw_only=True):
    """Neighbour to the voters: nobody I asked has heard this node within the limit."""

    node: Name
    incarnation: Count


class RingPing(Message, frozen=True, kw_only=True):
    """To the successor on the ring."""

    number: Count


class RingPong(Message, frozen=True, kw_only=True):
    """The answer, by the node's own loop (a kernel that accepts connections is no answer)."""

    number: Count


class SilenceQuestion(Message, frozen=True, kw_only=True):
    """Have you heard this node within the limit? The asked one pings it if it has not."""

    node: Name


class SilenceOpinion(Message, frozen=True, kw_only=True):
    """The answer. ``heard`` only if the node itself spoke within the limit."""

    node: Name
    heard: bool


class OfferHistory(Message, frozen=True, kw_only=True):
    """A node that was master beside another one, to the master, after its ``Welcome``: this is how far I
    had come with this evaluation. The next one is offered when ``WantHistory`` settles this one."""

    history: Name
    """Which of this node's histories; the evaluation and this name it for ever."""
    evaluation: Count
    ended: Epoch = NO_EPOCH
    """The epoch in which it was ended there; ``NO_EPOCH``: it was not."""
    packages: dict[Sha256, Count] = {}
    """Hash -> size in bytes, of its projects that had not ended."""


class WantHistory(Message, frozen=True, kw_only=True):
    """Master to the offering node: send this part; or (``settled``) the offer is dealt with for good."""

    history: Name
    evaluation: Count
    part: Count = 0
    settled: bool = False


class History(Message, frozen=True, kw_only=True):
    """The answer: some of the evaluation's records, in order; ``body`` is as opaque as a payload."""

    history: Name
    evaluation: Count
    part: Count
    last: bool
    body: bytes


VotingMessage: TypeAlias = (
    AppendEntries
    | AppendAnswer
    | InstallSnapshot
    | PreVote
    | Vote
    | VoteAnswer
    | Resigned
    | LeaveVoters
    | Evidence
)
"""What a ``Replica`` takes and sends."""

RingMessage: TypeAlias = RingPing | RingPong | SilenceQuestion | SilenceOpinion | SilenceReport | Evidence
"""What a ``Ring`` takes and sends."""
