"""What idle slots take from busy ones, what they leave, and in which order modules are dealt."""

from __future__ import annotations

import pytest

from node.core import events as ev
from node.core import records as rec
from proto import messages as m
from tests.core.fakerunner import FakeSuite, suite
from tests.core.minicluster import MiniCluster

LONG = 60
"""Tests of a long module; the fake runner says that each takes 0.1 s."""


def cluster(workers: int = 2, seed: int = 0) -> MiniCluster:
    made = MiniCluster(seed)
    for number in range(workers):
        made.worker(f"w{number}")
    made.settle()
    return made


def evaluate(made: MiniCluster, given: FakeSuite, **options: object) -> int:
    """Run one suite to its end; the evaluation's id."""
    ticket = made.submit(given, **options)
    made.run()
    made.settle()
    evaluation: int = made.answers[ticket].body["id"]
    assert made.log.outcomes(evaluation) == given.expected()
    return evaluation


def shares(made: MiniCluster, evaluation: int, module: str) -> dict[str, int]:
    """Node -> tests of the module it ran."""
    found: dict[str, int] = {}
    for record in made.log.of(rec.Attempted, evaluation):
        if record.module == f"test_{module}.py":
            found[record.node] = found.get(record.node, 0) + 1
    return found


def sent(made: MiniCluster, kind: type) -> list[object]:
    """Messages of one kind that were sent so far."""
    return [message for _, _, message in made.messages if isinstance(message, kind)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("workers", [2, 4])
def test_one_long_module_is_shared(workers: int, seed: int) -> None:
    made = cluster(workers, seed)
    evaluation = evaluate(made, suite("a: " + "pass " * LONG))
    shared = shares(made, evaluation, "a")
    # With slots to spare, one of them collects the whole suite meanwhile.
    assert len(shared) >= min(workers, 3)
    assert sum(shared.values()) == LONG == len(made.ran)
    assert max(shared.values()) <= 0.7 * LONG


@pytest.mark.parametrize("seed", range(20))
def test_within_a_slot_pytests_order_is_kept(seed: int) -> None:
    made = cluster(3, seed)
    evaluation = evaluate(made, suite("a: " + "pass " * LONG + "| b: pass pass"))
    place = {
        test: index for index, test in enumerate(t.id for t in made.suites[f"{0:064x}"].modules[0].tests)
    }
    by_assignment: dict[object, list[int]] = {}
    for record in made.log.of(rec.Attempted, evaluation):
        if record.module == "test_a.py":
            by_assignment.setdefault(record.assignment, []).append(place[record.test])
    assert len(by_assignment) > 1
    assert all(places == sorted(places) for places in by_assignment.values())


def test_a_module_with_dear_fixtures_is_not_cut() -> None:
    made = cluster(3)
    evaluation = evaluate(made, suite("a(dear): " + "pass " * LONG))
    assert len(shares(made, evaluation, "a")) == 1
    asked = sent(made, m.Withdraw)
    assert 1 <= len(asked) <= 6, "it is not asked again and again"


def test_a_short_module_is_not_cut() -> None:
    made = cluster(2)
    evaluation = evaluate(made, suite("a: pass pass pass pass"))
    assert len(shares(made, evaluation, "a")) <= 2
    assert len(sent(made, m.Withdraw)) <= 2


def test_in_order_steals_nothing() -> None:
    made = cluster(3)
    evaluation = evaluate(made, suite("a: " + "pass " * LONG), strategy="in-order")
    assert len(shares(made, evaluation, "a")) == 1
    assert not sent(made, m.Withdraw)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_session_has_not_begun_is_taken_whole(seed: int) -> None:
    made = cluster(2, seed)
    evaluation = evaluate(
        made, suite("a(dear): " + "pass " * LONG + "| b: pass | c: pass | d: pass | e: pass")
    )
    (busy,) = shares(made, evaluation, "a")
    others = {node for module in "cde" for node in shares(made, evaluation, module)}
    assert others - {busy}


@pytest.mark.parametrize("seed", range(20))
def test_a_test_the_thief_does_not_know_goes_back_to_its_owner(seed: int) -> None:
    made = cluster(2, seed)
    given = suite("a: " + "pass " * (LONG - 10) + "strange pass " * 10)
    made.submit(given)
    made.run()
    assert made.log.outcomes(1) == given.expected()
    assert sent(made, m.Withdraw)
    strange = {test.id for test in given.modules[0].tests if test.does == "strange"}
    nodes = {r.node for r in made.log.of(rec.Attempted, 1) if r.test in strange}
    assert len(nodes) == 1
    assert made.log.projects[1, 0].audited


@pytest.mark.parametrize("seed", range(20))
def test_groups_stay_together_while_everything_is_stolen(seed: int) -> None:
    made = cluster(3, seed)
    given = suite("a: " + "pass pass@g " * 30 + "| b: pass@g pass@h | c: " + "pass@h " * 20)
    evaluation = evaluate(made, given)
    groups = {test.id: test.group for module in given.modules for test in module.tests if test.group}
    nodes: dict[str, set[str]] = {}
    for record in made.log.of(rec.Attempted, evaluation):
        if record.test in groups:
            nodes.setdefault(groups[record.test], set()).add(record.node)
    assert {group: len(used) for group, used in nodes.items()} == {"g": 1, "h": 1}


@pytest.mark.parametrize("seed", range(20))
def test_a_worker_that_joins_late_shares_the_module_that_runs(seed: int) -> None:
    made = cluster(1, seed)
    made.submit(suite("a: " + "pass " * (3 * LONG)), collection="lazy")
    made.run(lambda: len(made.ran) >= 5)
    made.worker("late")
    made.run()
    assert shares(made, 1, "a").get("late:7000", 0) > LONG / 2


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_stolen_while_another_project_waits_for_a_slot(seed: int) -> None:
    made = cluster(2, seed)
    made.submit(suite("a: " + "pass " * 3 * LONG), collection="lazy")
    made.run(lambda: len(made.ran) >= 10)
    made.submit(suite("b: pass pass"))
    before = len(sent(made, m.Withdraw))

    def begun() -> bool:
        return any(opened.evaluation == 2 for opened in sent(made, m.OpenSession))  # type: ignore[attr-defined]

    made.run(begun)
    assert len(sent(made, m.Withdraw)) == before
    made.run()


@pytest.mark.parametrize("seed", range(20))
def test_a_thief_may_be_lost_with_what_it_took(seed: int) -> None:
    made = cluster(3, seed)
    given = suite("a: " + "pass " * LONG)
    made.submit(given)
    made.run(lambda: any(message.tests for message in sent(made, m.HandedBack)))  # type: ignore[attr-defined]
    made.run(lambda: len(made.ran) >= 10 + seed)
    made.kill(f"w{seed % 3}")
    made.run()
    assert made.log.outcomes(1) == given.expected()


# --- the order of dealing -------------------------------------------------------------------------

TEN = " | ".join(f"{name}: pass" for name in "abcdefghij")


def dealt(strategy: str, seconds: dict[str, float]) -> str:
    """Letters of the modules in the order in which they were dealt, with such a history."""
    made = cluster(2)
    made.shell.recalled = {f"test_{name}.py": value for name, value in seconds.items()}
    made.submit(suite(TEN), strategy=strategy, collection="lazy")
    made.run()
    runs = [message for message in sent(made, m.Run) if message.module]  # type: ignore[attr-defined]
    return "".join(dict.fromkeys(run.module[5] for run in runs))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("strategy", "seconds", "order"),
    [
        ("auto", {}, "abcdefghij"),
        ("auto", {"a": 1, "b": 1, "e": 9, "h": 30, "j": 2}, "habcdefgij"),
        ("auto", dict.fromkeys("abcdefghij", 1.0) | {"h": 30, "e": 9}, "heabcdfgij"),
        ("longest-first", {name: ord(name) for name in "abcdefghij"}, "jihgfedcba"),
        ("round-robin", {"h": 30, "e": 9}, "abcdefghij"),
        ("in-order", {"h": 30, "e": 9}, "abcdefghij"),
    ],
)
def test_modules_known_to_be_long_are_dealt_first(
    strategy: str, seconds: dict[str, float], order: str
) -> None:
    assert dealt(strategy, seconds) == order


def test_history_is_asked_for_by_the_projects_source() -> None:
    made = cluster(1)
    made.urls = {"r1": suite("a: pass")}
    made.submit("r1", suite("b: pass"))
    made.run()
    assert {effect.source for effect in made.shell.recalls} == {"https://git.example/r1", "project1"}


def test_history_of_a_project_that_is_over_changes_nothing() -> None:
    made = cluster(1)
    evaluation = evaluate(made, suite("a: pass"))
    made.tell_node("m", ev.Recalled(evaluation=evaluation, project=0, seconds={"test_a.py": 1.0}))
    made.tell_node("w0", ev.Recalled(evaluation=evaluation, project=0, seconds={"test_a.py": 1.0}))
