"""The roster: which nodes are members, in the order they joined, and who talks to whom."""

from __future__ import annotations

from dataclasses import dataclass

from proto.messages import Join, Member, Members


@dataclass(frozen=True)
class Slot:
    """One place where a session can run."""

    node: str
    index: int


class Roster:
    """Live members. The master itself is the first.

    Args:
        slots: of the master; ``alone`` is how many it has while no worker is a member.
    """

    def __init__(self, node: str, address: str, slots: int, alone: int, isolation: str) -> None:
        self.node = node
        self._alone = alone
        self._slots = slots
        self._members: dict[str, Member] = {
            node: Member(node=node, address=address, slots=slots, isolation=isolation)
        }

    def join(self, node: str, join: Join) -> None:
        """A node is a member from now on."""
        self._members[node] = Member(
            node=node, address=join.address, slots=join.slots, isolation=join.isolation
        )

    def leave(self, node: str) -> bool:
        """A node is gone; whether it was a member."""
        return self._members.pop(node, None) is not None

    def drain(self, node: str) -> None:
        """A node takes no more work."""
        self._members[node] = _replace(self._members[node], draining=True)

    def neighbours(self, node: str, addresses: tuple[str, ...]) -> None:
        """What a node says it is connected to."""
        if node in self._members:
            self._members[node] = _replace(self._members[node], neighbours=addresses)

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
            member.node: self._count(member) for member in self._members.values() if not member.draining
        }
        deepest = max(counts.values(), default=0)
        return [
            Slot(node, index) for index in range(deepest) for node, count in counts.items() if index < count
        ]

    def _count(self, member: Member) -> int:
        if member.node == self.node and len(self._members) == 1:
            return max(member.slots, self._alone)
        return member.slots

    def message(self, epoch: int) -> Members:
        """The roster as it is told to every member."""
        return Members(epoch=epoch, members=tuple(self._members.values()))

    def nodes(self) -> list[str]:
        """Ids of the members, the master first."""
        return list(self._members)

    def addresses(self) -> dict[str, str]:
        """Node id -> address."""
        return {member.node: member.address for member in self._members.values()}

    def network(self) -> dict[str, list[str]]:
        """Address -> addresses it is connected to right now: the master's star and what nodes report."""
        own = self._members[self.node].address
        live = {member.address for member in self._members.values()}
        edges: dict[str, dict[str, None]] = {address: {} for address in self.addresses().values()}
        for member in self._members.values():
            told = {own, *member.neighbours} if member.address != own else set(member.neighbours)
            for other in sorted(told & live - {member.address}):
                edges[member.address][other] = None
                edges[other][member.address] = None
        return {address: list(others) for address, others in edges.items()}


def _replace(
    member: Member, *, draining: bool | None = None, neighbours: tuple[str, ...] | None = None
) -> Member:
    return Member(
        node=member.node,
        address=member.address,
        slots=member.slots,
        isolation=member.isolation,
        neighbours=member.neighbours if neighbours is None else neighbours,
        draining=member.draining if draining is None else draining,
    )
