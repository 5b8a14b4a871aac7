"""This node's place among the others: its seat on the ring, and its connections.

The ring says who is dead, gone or silent; what follows from that is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from node.core import effects as fx
from node.core import events as ev
from node.core import ring_events as re
from node.core.contacts import Contacts
from node.core.ring import Ring
from node.core.timing import Timing
from proto.messages import AnyMessage, Member
from proto.voting import RingMessage

Found = re.Died | re.Left | re.Silent


class Neighbourhood:
    """Ring and contacts of one node.

    Args:
        emit: takes what is to be done.
        found: is told what the ring found out about a node.
    """

    def __init__(
        self,
        node: str,
        timing: Timing,
        now: float,
        emit: Callable[[Iterable[fx.AnyEffect]], None],
        found: Callable[[Found], None],
    ) -> None:
        self._node = node
        self._timing = timing
        self._emit = emit
        self._found = found
        self._ring = Ring(node, timing, now)
        self._contacts = Contacts(node, timing)
        self._incarnations: dict[str, int] = {}
        self._seated: tuple[tuple[re.Neighbour, ...], tuple[str, ...]] = ((), ())
        self._looked_at: tuple[tuple[Member, ...], tuple[str, ...]] | None = None

    # --- what may be asked ------------------------------------------------------------------------

    @property
    def connected(self) -> Set[str]:
        """Nodes with an authenticated control connection, now and later."""
        return self._contacts.connected.keys()

    def incarnation(self, node: str) -> int | None:
        """Of a connected node; None if it is not connected."""
        return self._contacts.connected.get(node)

    def address(self, node: str) -> str:
        """Where the node was last known to be; empty if nobody said."""
        return self._contacts.addresses.get(node, "")

    def addresses(self) -> tuple[str, ...]:
        """Of the connected nodes."""
        return self._contacts.reached()

    def hears(self, node: str, now: float) -> bool:
        """Whether the node spoke within the suspect limit."""
        return self._ring.silence(node, now) < self._timing.suspect

    def is_dead(self, node: str) -> bool:
        """Whether the ring has evidence against the newest process of the node that is known."""
        return self._ring.is_dead(node)

    @property
    def successor(self) -> str:
        """Whom this node pings; empty when it is alone."""
        return self._ring.successor

    def next_deadline(self) -> float | None:
        deadlines = (self._ring.next_deadline(), self._contacts.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- what happens -----------------------------------------------------------------------------

    def up(self, event: ev.PeerUp, now: float) -> None:
        """A connection is there, whoever dialled."""
        self._incarnations[event.node] = event.incarnation
        self._looked_at = None
        self._contacts.up(event.node, event.address, event.incarnation)
        self._turn(re.Heard(node=event.node, incarnation=event.incarnation), now)

    def down(self, event: ev.PeerDown, now: float) -> bool:
        """A connection is gone; False if the node is connected anew already."""
        if not self._contacts.down(event.node, event.incarnation):
            return False
        self._looked_at = None
        if event.replaced:
            # Nobody need be looked for; two nodes that redialled now would replace each other for ever.
            return True
        closed = re.Closed(
            node=event.node, incarnation=event.incarnation, by_peer=event.by_peer, bye=event.bye
        )
        self._turn(closed, now)
        return True

    def dialled(self, event: ev.Dialled, now: float) -> None:
        """An attempt to connect ended."""
        self._contacts.dialled(event.node)
        if event.how == "refused" and event.node in self._contacts.connected:
            return  # an attempt of before the connection: it says nothing about the process behind that
        self._turn(re.Redialled(node=event.node, how=event.how, incarnation=event.incarnation), now)

    def heard(self, node: str, incarnation: int, now: float) -> None:
        """A message of the node came."""
        self._turn(re.Heard(node=node, incarnation=incarnation), now)

    def said(self, node: str, incarnation: int, message: RingMessage, now: float) -> None:
        """A message of the ring came."""
        self._turn(re.Said(node=node, incarnation=incarnation, message=message), now)

    def tick(self, now: float) -> None:
        """The ring's timers."""
        deadline = self._ring.next_deadline()
        if deadline is not None and now >= deadline:
            self._turn(re.Tick(), now)

    def seat(self, members: tuple[Member, ...], voters: tuple[str, ...], now: float) -> None:
        """The roster in order of join. A voter that is no member is watched all the same.

        Asked after every event, so a roster that is the very one of before is not looked through.
        """
        if self._looked_at is not None and members is self._looked_at[0] and voters == self._looked_at[1]:
            return
        self._looked_at = (members, voters)
        seats: dict[str, int] = {}
        for member in members:
            self._contacts.learn(member.node, member.address)
            seats[member.node] = max(member.incarnation, self._incarnations.get(member.node, 0))
        for voter in voters:
            seats.setdefault(voter, self._incarnations.get(voter, 0))
        seats.setdefault(self._node, 0)
        seated = tuple(re.Neighbour(node=node, incarnation=number) for node, number in seats.items())
        if (seated, voters) != self._seated:
            self._seated = (seated, voters)
            self._turn(re.Seated(members=seated, voters=voters), now)

    def connect(self, wanted: Iterable[str], now: float) -> None:
        """Be connected to these."""
        self._emit(self._contacts.want(wanted, now))

    def _turn(self, event: re.RingEvent, now: float) -> None:
        for effect in self._ring.handle(event, now):
            match effect:
                case re.Tell():
                    message: AnyMessage = effect.message
                    self._emit([fx.Send(node=effect.node, message=message)])
                case re.Redial():
                    self._emit(self._contacts.dial(effect.node, now))
                case re.Died() | re.Left() | re.Silent():
                    self._found(effect)
