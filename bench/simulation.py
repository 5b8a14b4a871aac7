"""Seeds a second that the simulator runs on one core, of each kind and of the mixture in the gate."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.rounds import interleaved, markdown, median
from tests.simulation.seeds import Kind, kind_of, play

SEEDS = 240


def table(rounds: int) -> str:
    """One row per kind of run."""
    kinds: dict[str, Callable[[int], Kind]] = {
        "replicas alone": lambda _seed: "replicas",
        "whole nodes": lambda _seed: "nodes",
        "the mixture": kind_of,
    }
    found = interleaved({name: lambda kind=kind: _rate(kind) for name, kind in kinds.items()}, rounds)
    rows = [[name, median(found[name], 0)] for name in kinds]
    return markdown("Simulator", ["kind of run", "seeds a second"], rows)


def _rate(kind: Callable[[int], Kind]) -> float:
    began = time.process_time()
    for seed in range(1, SEEDS + 1):
        play(seed, kind(seed))
    return SEEDS / (time.process_time() - began)
