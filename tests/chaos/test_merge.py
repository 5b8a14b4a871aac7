"""Two nodes whose connections somebody else closes: each has evidence of the other's death, both go on.

With two voters the rules let that happen (``docs/cluster.md``, "Two voters"). What counts then: both
acknowledge, nothing they number collides, and when they meet there is one master and nothing
acknowledged is lost, or there twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from node.core.grading import FAILED, PASSED
from tests.chaos import suite
from tests.chaos.checks import Tally
from tests.chaos.closing import Proxied
from tests.chaos.http import Http, Refused
from tests.chaos.nodes import Fleet, Node
from tests.chaos.services import Service
from tests.support.waiting import until

pytestmark = pytest.mark.chaos

SEED = 1
SECONDS = 60.0
WELL_UNDER_WAY = 50
"""Verdicts of an evaluation that runs."""

Lines = list[dict[str, Any]]


@dataclass
class Side:
    """One node, the HTTP service beside it, and a client of that service alone."""

    node: Node
    service: Service
    http: Http = field(init=False)

    def __post_init__(self) -> None:
        self.http = Http(self.service.url, Counter())

    def health(self) -> dict[str, Any]:
        """``/health``, or nothing while nobody answers."""
        try:
            return dict(self.http.once("/health"))
        except Refused:
            return {}

    def reigns_alone(self) -> bool:
        """Whether it is a master that needs nobody."""
        health = self.health()
        return (
            bool(health) and health["master"] == self.node.address and health["voters"] == [health["master"]]
        )

    def submit(self, number: int) -> int:
        """Submit the suite as the ``number``th; its id once it is acknowledged."""
        return self.http.submit(suite.archive(SEED, number), f"side-{number}", {"name": f"side-{number}"})

    def answer(self, evaluation: int) -> dict[str, Any]:
        """``GET /evaluation/<id>``."""
        return dict(self.http.get(f"/evaluation/{evaluation}"))

    def executed(self, evaluation: int, least: int) -> None:
        """Until so many verdicts are there."""
        until(
            lambda: self.answer(evaluation)["tests"]["executed"] >= least,
            SECONDS,
            f"{least} verdicts of evaluation {evaluation} at {self.node.name}",
        )

    def over(self, evaluation: int) -> None:
        """Until it has ended."""
        what = f"evaluation {evaluation} over at {self.node.name}"
        until(lambda: self.answer(evaluation)["state"] in ("finished", "failed"), SECONDS, what)

    def report(self, evaluation: int) -> Lines:
        """Its verdicts so far."""
        return self.http.lines(f"/evaluation/{evaluation}/report.jsonl")

    def right(self, evaluation: int) -> Lines:
        """Its report, which is the one right one: every test once, every verdict the known one."""
        self.over(evaluation)
        lines, tally = self.report(evaluation), Tally()
        tally.add(evaluation, suite.expected(SEED), self.answer(evaluation), lines)
        assert tally.findings == []
        return lines

    def listed(self) -> list[int]:
        """Ids of all evaluations it knows, ascending."""
        page = self.http.get("/evaluation")
        assert page["next"] is None
        return sorted(one["id"] for one in page["evaluations"])


class Pair:
    """Two voters, a slot on each, and the doors between them."""

    def __init__(self) -> None:
        self.network = Proxied(2)
        self.fleet = Fleet(self.network, workers=1, founder_slots=1, apart=True)
        self.fleet.start()
        self.sides = [
            Side(node, service) for node, service in zip(self.fleet.nodes, self.fleet.services, strict=True)
        ]
        self.ended: list[Node] = []
        """Nodes that were expected to end by themselves."""
        until(self.is_one, SECONDS, "two voters under one master")

    def is_one(self) -> bool:
        """Whether both services tell of one master with two voters."""
        first, second = (side.health() for side in self.sides)
        return (
            bool(first and second)
            and (first["node"], first["epoch"]) == (second["node"], second["epoch"])
            and len(first["voters"]) == 2
            and first["durability"] == "replicated"
        )

    def part(self, *, reset: bool) -> None:
        """Forge the death of each to the other, until both are masters."""
        self.network.part(reset=reset)
        for side in self.sides:
            until(side.reigns_alone, SECONDS, f"{side.node.name} a master alone")

    def close(self) -> None:
        """Stop everything; fails if a node ended that was not expected to."""
        died = [(node.name, how) for node, how in self.fleet.died() if node not in self.ended]
        for side in self.sides:
            side.http.close()
        stubborn = self.fleet.close(keep=False)
        assert died == []
        assert stubborn == []


@dataclass
class Story:
    """What was submitted: before the close and over; running at the close; at each side after it."""

    pair: Pair
    before: int
    both: int
    alone: dict[str, int]
    """Node -> the evaluation that only it knew."""

    @property
    def all(self) -> list[int]:
        return sorted([self.before, self.both, *self.alone.values()])

    def by_epoch(self) -> list[Side]:
        """The sides, the one with the lower epoch first."""
        return sorted(self.pair.sides, key=lambda side: (side.health()["epoch"], side.node.id))

    def finish_apart(self) -> None:
        """Let each side finish what it knows, and check it."""
        for side in self.pair.sides:
            side.right(self.both)
            side.right(self.alone[side.node.name])


@pytest.fixture
def story() -> Iterator[Callable[[bool], Story]]:
    pairs: list[Pair] = []

    def tell(reset: bool) -> Story:
        pairs.append(pair := Pair())
        first = pair.sides[0]
        before = first.submit(1)
        first.right(before)
        both = first.submit(2)
        first.executed(both, WELL_UNDER_WAY)
        pair.part(reset=reset)
        alone = {side.node.name: side.submit(number) for number, side in enumerate(pair.sides, 3)}
        return Story(pair, before, both, alone)

    yield tell
    for pair in pairs:
        pair.close()


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_both_sides_of_a_forged_close_go_on_and_nothing_they_number_collides(story, reset):
    told = story(reset)
    assert len(set(told.all)) == 4
    epochs = [(side.health()["epoch"], side.node.id) for side in told.pair.sides]
    assert epochs[0] != epochs[1]
    for side in told.pair.sides:
        assert side.listed() == sorted([told.before, told.both, told.alone[side.node.name]])
        assert side.health()["durability"] == "local"
    told.finish_apart()


@pytest.mark.parametrize("over", [True, False], ids=["over", "running"])
def test_what_both_sides_of_a_forged_close_acknowledged_is_merged(story, over):
    """``over``: both sides have finished everything when they meet; else it runs on both."""
    told = story(reset=not over)
    if over:
        told.finish_apart()
    lower, upper = told.by_epoch()
    apart = {side.node.name: side.report(told.both) for side in (lower, upper)}
    # Whole from the side that finished it in the lower epoch, else from the present master.
    stands = lower if lower.answer(told.both)["state"] == "finished" else upper
    told.pair.network.join()
    until(told.pair.is_one, SECONDS, "one master and two voters again")
    for side in told.pair.sides:
        until(
            lambda side=side: side.listed() == told.all,
            SECONDS,
            f"all that was acknowledged at {side.node.name}",
        )
        for evaluation in told.all:
            lines = side.right(evaluation)
            merged = side.answer(evaluation).get("merged")
            if evaluation != told.both:
                assert not merged
                continue
            assert merged, "the other side's history is kept"
            # Verdicts that were given stay those of one side: who gave them, and in what time.
            assert _given(apart[stands.node.name]) <= _given(lines)
        counts = Counter(suite.expected(SEED).values())
        assert side.http.get("/stats")["all"] == {
            "passed": 4 * sum(counts[outcome] for outcome in PASSED),
            "failed": 4 * sum(counts[outcome] for outcome in FAILED),
            "projects": 1,
            "evaluations": 4,
        }


def _given(lines: Lines) -> set[tuple[Any, ...]]:
    """Verdicts that are not confirmed later, with the node that gave them and the seconds it took."""
    told = (one for one in lines if one["outcome"] in PASSED)
    return {(one["nodeid"], one["occurrence"], one["worker"], one["seconds"]) for one in told}
