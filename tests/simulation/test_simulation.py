"""Some seeds in every test run; ``python -m tests.simulation`` runs thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation import scenario
from tests.simulation.run import simulate

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("first", range(1, 301, 50))
def test_seeds_hold_every_promise(first: int) -> None:
    acknowledged = 0
    for seed in range(first, first + 50):
        _, outcome = simulate(seed)
        acknowledged += outcome.acknowledged
    assert acknowledged > 200


def test_a_seed_replays_exactly() -> None:
    stories = [simulate(77, trace=True)[0].story for _ in range(2)]
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert scenario.play(text) == text


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12
