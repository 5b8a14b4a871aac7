"""Who must agree, and who should hold the log next. Pure functions over sets of node ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set

from node.core.voting_log import VoterSet


def agreed(
    required: Iterable[VoterSet], yes: Set[str], node: str = "", standing_in: Set[str] = frozenset()
) -> bool:
    """Whether a majority of every required set says yes; False when no set is required.

    ``standing_in`` are nodes whose agreement evidence stands for. It counts only in a set of two
    that ``node`` itself belongs to (DESIGN, "Two voters").
    """
    sets = tuple(required)
    return bool(sets) and all(_majority(voters, yes, node, standing_in) for voters in sets)


def _majority(voters: VoterSet, yes: Set[str], node: str, standing_in: Set[str]) -> bool:
    count = sum(1 for voter in voters if voter in yes)
    if len(voters) == 2 and node in voters:
        count += sum(1 for voter in voters if voter in standing_in and voter not in yes)
    return count * 2 > len(voters)


def partners(required: Iterable[VoterSet], node: str) -> frozenset[str]:
    """The other voter of every required set of two that ``node`` belongs to."""
    return frozenset(
        voter
        for voters in required
        if len(voters) == 2 and node in voters
        for voter in voters
        if voter != node
    )


def desired_size(nodes: int, replicas: int) -> int:
    """How many voters ``nodes`` live nodes should have: 1, 3 or 5; 2 only while there are two nodes."""
    most = min(nodes, 2 * replicas + 1, 5)
    if most == 2:
        return 2
    return max(most - 1 + most % 2, 1)


def next_voters(
    current: VoterSet,
    *,
    roster: Collection[str],
    ready: Collection[str],
    gone: Sequence[str],
    replicas: int,
) -> VoterSet | None:
    """The set to change to now, one node in, one node out, or both; None to leave it as it is.

    ``roster`` are the live nodes in order of join, ``ready`` those of them that are caught up,
    ``gone`` the nodes proven dead or leaving, most urgent first. Silence never makes a voter ``gone``.
    """
    out = next((node for node in gone if node in current), None)
    spare = next(
        (node for node in roster if node in ready and node not in current and node not in gone), None
    )
    target = desired_size(sum(1 for node in roster if node not in gone), replicas)
    if out is not None:
        remaining = tuple(voter for voter in current if voter != out)
        if spare is not None and len(current) <= max(target, 1):
            return (*remaining, spare)
        return remaining or None
    if spare is not None and len(current) < target:
        return (*current, spare)
    if replicas * 2 + 1 < len(current):
        # The setting was lowered: the youngest voter is let go.
        return current[:-1]
    return None


def learners(
    current: VoterSet, *, roster: Collection[str], gone: Collection[str], replicas: int
) -> tuple[str, ...]:
    """The nodes that should catch up now, because the next change of voters will need them."""
    alive = [node for node in roster if node not in gone]
    staying = sum(1 for voter in current if voter not in gone)
    missing = desired_size(len(alive), replicas) - staying
    return tuple(node for node in alive if node not in current)[: max(missing, 0)]
