"""Which seed is what kind of run, and what many of them came to."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from tests.simulation import run as replicas
from tests.simulation.whole import run as nodes
from tests.simulation.world import World

Kind = Literal["replicas", "nodes"]
SHARE = 6
"""One seed of so many is a run of whole nodes, which takes as long as seven of replicas."""


def kind_of(seed: int) -> Kind:
    """The kind of run that a seed is."""
    return "replicas" if seed % SHARE else "nodes"


def play(seed: int, kind: Kind, story: list[str] | None = None) -> replicas.Outcome | nodes.Outcome:
    """Run one seed to its end; ``story`` takes what happens.

    Raises:
        AssertionError: a promise was broken.
    """
    trace = story is not None
    world = World(seed, replicas.TIMING, trace=trace) if kind == "replicas" else nodes.make(seed, trace=trace)
    if story is not None:
        world.story = story
    return replicas.play(world) if isinstance(world, World) else nodes.play(world)


class Totals:
    """Sums over many runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0

    def add(self, outcome: replicas.Outcome | nodes.Outcome) -> None:
        """One more run."""
        counts = self.counts
        counts["events"] += outcome.handled
        counts["beyond"] += outcome.beyond_repair
        if isinstance(outcome, nodes.Outcome):
            counts["verdicts"] += outcome.verdicts
            return
        counts["acknowledged"] += outcome.acknowledged
        counts["reigns"] += outcome.reigns
        if not outcome.beyond_repair:
            self.slowest = max(self.slowest, outcome.settled)

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['acknowledged']} records acknowledged, {counts['reigns']} reigns, "
            f"{counts['verdicts']} verdicts, {counts['events']} events; "
            f"slowest agreement {self.slowest:.1f} s after the last fault; "
            f"{counts['beyond']} runs lost too many disks to go on"
        )
