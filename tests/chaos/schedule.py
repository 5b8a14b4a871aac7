"""What will be done to the cluster, and when: a pure function of the seed.

A step names a role, not a process: who is master when it comes is known only then. So one seed gives
one sequence of steps, whatever the machine's speed; only the moments shift when a step has to wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["kill", "stop", "cut", "oneway", "disk", "api"]
Role = Literal["master", "backup", "worker"]

KINDS: tuple[Kind, ...] = ("kill", "stop", "cut")
"""What a run does unless told otherwise; a seed's steps depend on the kinds."""
MORE: tuple[Kind, ...] = ("oneway", "disk", "api")
"""Kinds that are to be asked for."""
_WEIGHTS = {"kill": 5, "stop": 3, "cut": 2, "oneway": 2, "disk": 1, "api": 1}
_ROLES: tuple[Role, ...] = ("master", "backup", "worker")
_ROLE_WEIGHTS = (3, 3, 4)
_INDICES = 1000


@dataclass(frozen=True)
class Step:
    """One fault.

    Attributes:
        after: seconds after the step before it.
        index: which of the nodes of that role, modulo their number.
        mute: of a one-way cut: the node's own packets are dropped, else those that are sent to it.
        seconds: how long it lasts.
    """

    after: float
    kind: Kind
    role: Role
    index: int
    seconds: float

    @property
    def mute(self) -> bool:
        return self.index >= _INDICES // 2

    def __str__(self) -> str:
        return f"{self.kind} {self.role} for {self.seconds:.2f} s"


def steps(seed: int, suspect: float, kinds: Sequence[Kind] = KINDS, masters: bool = True) -> Iterator[Step]:
    """The endless sequence of this seed; empty without kinds.

    Args:
        suspect: the cluster's limit of silence; faults last from a tenth of it to four times as long.
        masters: whether masters and backups are among the targets.
    """
    random = Random(seed)
    weights = [_WEIGHTS[kind] for kind in kinds]
    while kinds:
        after = random.uniform(0.7, 2.0)
        kind = random.choices(kinds, weights)[0]
        role = random.choices(_ROLES, _ROLE_WEIGHTS)[0]
        long = random.random() < 0.5
        share = random.uniform(1.5, 4.0) if long else random.uniform(0.1, 0.7)
        yield Step(after, kind, role if masters else "worker", random.randrange(_INDICES), share * suspect)
