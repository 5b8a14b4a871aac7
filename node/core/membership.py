"""The roster: which nodes are members, in the order they joined, and who talks to whom."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

import msgspec

from node.core.records import Joined
from proto.messages import Member, Members


@dataclass(frozen=True)
class Slot:
    """One place where a session can run."""

    node: str
    index: int


class Roster:
    """Live members in the order in which they joined, the master among them.

    Args:
        node: the master.
        members: as the log has them.
    """

    def __init__(self, node: str, members: Iterable[Joined] = ()) -> None:
        self.node = node
        self._members: dict[str, Member] = {}
        self._all: tuple[Member, ...] | None = None
        """See ``members``; None once one has changed."""
        self.awaited: set[str] = set()
        """Members of a former reign that have not reported to this master yet: nothing is dealt to them."""
        self._away: set[str] = set()
        """Members without a connection, or whose report on the present one has not come yet."""
        for joined in members:
            self.join(joined)

    def join(self, joined: Joined) -> None:
        """A node is a member from now on, or is one with other words."""
        before = self._members.get(joined.node)
        self._put(
            Member(
                node=joined.node,
                address=joined.address,
                slots=joined.slots,
                alone=joined.alone,
                isolation=joined.isolation,
                incarnation=joined.incarnation,
                neighbours=before.neighbours if before is not None else (),
            )
        )

    def _put(self, member: Member) -> None:
        self._members[member.node] = member
        self._all = None

    def knows(self, joined: Joined) -> bool:
        """Whether the roster says the same of this node already."""
        member = self._members.get(joined.node)
        return member is not None and (
            (member.address, member.incarnation, member.slots, member.alone, member.isolation)
            == (joined.address, joined.incarnation, joined.slots, joined.alone, joined.isolation)
        )

    def leave(self, node: str) -> bool:
        """A node is gone; whether it was a member."""
        self.awaited.discard(node)
        self._away.discard(node)
        self._all = None
        return self._members.pop(node, None) is not None

    def incarnation(self, node: str) -> int:
        """The member's process, or -1."""
        member = self._members.get(node)
        return member.incarnation if member is not None else -1

    def able(self) -> list[str]:
        """Members that could hold the log: all that do not drain, by join."""
        return [member.node for member in self._members.values() if not member.draining]

    def away(self, node: str) -> None:
        """What it holds is not known until it reports: it is sent nothing meanwhile."""
        if node in self._members:
            self._away.add(node)

    def reported(self, node: str) -> None:
        """What it holds is known."""
        self._away.discard(node)
        self.awaited.discard(node)

    def hears(self, node: str) -> bool:
        """Whether a member is connected and what it holds is known."""
        return node in self._members and node not in self.awaited and node not in self._away

    def drain(self, node: str) -> None:
        """A node takes no more work."""
        self._put(msgspec.structs.replace(self._members[node], draining=True))

    def neighbours(self, node: str, addresses: tuple[str, ...]) -> None:
        """What a node says it is connected to."""
        if node in self._members:
            self._put(msgspec.structs.replace(self._members[node], neighbours=addresses))

    def find(self, name: str) -> str | None:
        """The node with this id or address."""
        for member in self._members.values():
            if name in (member.node, member.address):
                return member.node
        return None

    def __contains__(self, node: str) -> bool:
        return node in self._members

    def address(self, node: str) -> str:
        """The address of a member, or empty."""
        member = self._members.get(node)
        return member.address if member else ""

    def slots(self) -> list[Slot]:
        """All slots that may be given work, one of each node in turn."""
        counts = {
            member.node: self._count(member)
            for member in self._members.values()
            if self.hears(member.node) and not member.draining
        }
        deepest = max(counts.values(), default=0)
        return [
            Slot(node, index) for index in range(deepest) for node, count in counts.items() if index < count
        ]

    def _count(self, member: Member) -> int:
        if member.node == self.node and len(self._members) == 1:
            return max(member.slots, member.alone)
        return member.slots

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them, by join; the very same tuple until one changes."""
        if self._all is None:
            self._all = tuple(self._members.values())
        return self._all

    def message(self, epoch: int, voters: tuple[str, ...]) -> Members:
        """The roster as it is told to every member."""
        return Members(epoch=epoch, members=self.members, voters=voters)

    def nodes(self) -> list[str]:
        """Ids of the members, by join."""
        return list(self._members)

    def addresses(self) -> dict[str, str]:
        """Node id -> address."""
        return {member.node: member.address for member in self._members.values()}

    def network(self, connected: Set[str]) -> dict[str, list[str]]:
        """Address -> addresses it is connected to right now: what the nodes report, and what the master
        sees itself (``connected``: node ids)."""
        addresses = self.addresses()
        edges: dict[str, dict[str, None]] = {address: {} for address in addresses.values()}

        def join(one: str, other: str) -> None:
            if one != other and one in edges and other in edges:
                edges[one][other] = edges[other][one] = None

        own = addresses.get(self.node, "")
        for node, member in self._members.items():
            if node in connected:
                join(own, member.address)
            if node in connected or node == self.node:
                for other in member.neighbours:
                    join(member.address, other)
        return {address: sorted(others) for address, others in edges.items()}
