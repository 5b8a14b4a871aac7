"""What can happen to a ``Ring``, and what it wants done."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from proto.voting import RingMessage


class Neighbour(Struct, frozen=True, kw_only=True):
    """A member and the incarnation the roster knows."""

    node: str
    incarnation: int


# --- events -----------------------------------------------------------------------------------


class Seated(Struct, frozen=True, kw_only=True):
    """The roster, ordered by join, this node included; ``voters`` are told what is seen."""

    members: tuple[Neighbour, ...]
    voters: tuple[str, ...]


class Heard(Struct, frozen=True, kw_only=True):
    """A frame of that peer arrived, on any connection that its own loop serves."""

    node: str
    incarnation: int


class Said(Struct, frozen=True, kw_only=True):
    """A ring message of an authenticated peer."""

    node: str
    incarnation: int
    message: RingMessage


class Closed(Struct, frozen=True, kw_only=True):
    """The control connection ended. ``by_peer``: its FIN or RST came, this node did not close it.
    ``bye``: it said ``BYE`` first."""

    node: str
    incarnation: int
    by_peer: bool
    bye: bool = False


class Redialled(Struct, frozen=True, kw_only=True):
    """A ``Redial`` ended. ``answered``: the handshake completed, with ``incarnation``. ``refused``:
    RST on connect. ``unanswered``: a timeout, EHOSTUNREACH, or a handshake that nobody answered."""

    node: str
    how: Literal["answered", "refused", "unanswered"]
    incarnation: int = 0


class Tick(Struct, frozen=True, kw_only=True):
    """The deadline that ``next_deadline`` named has come."""


RingEvent: TypeAlias = Seated | Heard | Said | Closed | Redialled | Tick


# --- effects ----------------------------------------------------------------------------------


class Tell(Struct, frozen=True, kw_only=True):
    """Queue a message for a peer; to this node itself: hand it to its own replica."""

    node: str
    message: RingMessage


class Redial(Struct, frozen=True, kw_only=True):
    """Try to reach the peer once; ends with ``Redialled``."""

    node: str


class Died(Struct, frozen=True, kw_only=True):
    """Evidence of death of this incarnation."""

    node: str
    incarnation: int


class Left(Struct, frozen=True, kw_only=True):
    """It said ``BYE`` and closed."""

    node: str


class Silent(Struct, frozen=True, kw_only=True):
    """Silence, confirmed by others: work may be dealt elsewhere, but nobody is buried for it."""

    node: str
    incarnation: int


class Recovered(Struct, frozen=True, kw_only=True):
    """A suspect spoke again."""

    node: str


RingEffect: TypeAlias = Tell | Redial | Died | Left | Silent | Recovered
