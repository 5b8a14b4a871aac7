"""Some seeds in every test run; ``python -m tests.simulation`` runs thousands, as the gate does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation import scenario
from tests.simulation.seeds import SHARE, Totals, kind_of, play

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("first", range(1, 301, 100))
def test_seeds_hold_every_promise(first: int) -> None:
    totals = Totals()
    for seed in range(first, first + 100):
        totals.add(play(seed, kind_of(seed)))
    assert totals.counts["acknowledged"] > 400
    assert totals.counts["verdicts"] > 80


FOUND = {
    2964: "what a stale master said after a copy of a later epoch's tables had come",
    6528: "one id from two masters that parted from one log, one after the other",
    8562: "a reign that stayed isolated for a moment's measure",
    22020: "a log whose snapshot reached further than what it was sent",
    38868: "a node that left while it alone held the log",
}
"""Seeds of whole nodes that failed once, and what they showed."""


@pytest.mark.parametrize("seed", FOUND, ids=FOUND.values())
def test_what_a_seed_has_shown_stays_mended(seed: int) -> None:
    play(seed, "nodes")


@pytest.mark.parametrize("seed", [77, 13 * SHARE])
def test_a_seed_replays_exactly(seed: int) -> None:
    stories: list[list[str]] = [[], []]
    for story in stories:
        play(seed, kind_of(seed), story)
    assert stories[0] == stories[1]
    assert len(stories[0]) > 20


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    assert scenario.play(text) == text


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12
