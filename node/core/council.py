"""What the master knows about who could hold the log: live nodes, those who leave, the dead."""

from __future__ import annotations

from collections.abc import Set

from node.core import voters as rules
from node.core.failover import Witness
from node.core.voting_log import VoterSet


class Council:
    """Proposes the next set of voters; the master decides when it may be appended."""

    def __init__(self, node: str, witness: Witness) -> None:
        self._node = node
        self._witness = witness
        self._leaving: dict[str, int] = {}
        self._roster: tuple[str, ...] = ()
        self._replicas = 0
        self._changes = 0
        self._asked: tuple[object, ...] = ()
        self._proposed: VoterSet | None = None
        """The answer to what was asked last: it is asked at every commit."""

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever what is known of the nodes does: then ``learners`` may be others."""
        return self._changes, self._witness.version

    def roster(self, nodes: tuple[str, ...], replicas: int) -> None:
        """Live nodes by join; ``replicas`` = how many losses the voters should survive."""
        self._roster, self._replicas = nodes, replicas
        self._changes += 1

    def leaves(self, node: str, incarnation: int) -> None:
        """A voter drains, the master itself perhaps."""
        self._leaving[node] = incarnation
        self._changes += 1

    def came_up(self, node: str, incarnation: int) -> None:
        """A later incarnation of a node that left has come to stay."""
        if self._leaving.get(node, incarnation) < incarnation:
            del self._leaving[node]
            self._changes += 1

    def learners(self, current: VoterSet) -> tuple[str, ...]:
        """Nodes that should catch up now."""
        gone = self._gone(current)
        return rules.learners(current, roster=self._roster, gone=gone, replicas=self._replicas)

    def proposal(self, current: VoterSet, ready: Set[str]) -> VoterSet | None:
        """The set to change to; None while nothing is known of the roster, or all is well."""
        if not self._roster:
            return None
        asked = (current, ready, self.version)
        if asked != self._asked:
            self._asked = asked
            self._proposed = rules.next_voters(
                current, roster=self._roster, ready=ready, gone=self._gone(current), replicas=self._replicas
            )
        return self._proposed

    def _gone(self, current: VoterSet) -> tuple[str, ...]:
        """The dead first, then those who leave, the master itself last: it is needed until then."""
        known = (*current, *(node for node in self._roster if node not in current))
        dead = [node for node in known if self._witness.is_dead(node)]
        leaving = [node for node in self._leaving if node not in dead and node != self._node]
        master = [self._node] if self._node in self._leaving else []
        return (*dead, *leaving, *master)
