"""Random suites on random clusters under random faults: everything ends, nothing is lost or doubled."""

from __future__ import annotations

import random

import pytest

from node.core import events as ev
from proto import messages as m
from proto.messages import TestId
from tests.core.fakerunner import BEHAVIOURS, FakeModule, FakeSuite, FakeTest
from tests.core.minicluster import MiniCluster

PLAIN = ("pass", "pass", "pass", "pass", "fail", "skip", "xfail")


def random_suite(chance: random.Random) -> FakeSuite:
    """A suite of up to nine modules; a third of them misbehave in some way."""
    modules = []
    for number in range(chance.randint(0, 9)):
        name = f"test_{number}.py"
        count = chance.choice((0, 1, 2, 3, 8, 20))
        does = BEHAVIOURS if chance.random() < 0.3 else PLAIN
        tests = tuple(
            FakeTest(
                TestId(f"{name}::test_{index // 2}", index % 2),
                chance.choice(does),
                chance.choice(("", "", "", "one", "two")),
            )
            for index in range(count)
        )
        kinds = ("", "", "", "", "", "", "error", "skip", "die", "die once", "imports")
        collects = chance.choice(kinds)
        if collects == "imports" and not tests:
            collects = ""
        modules.append(FakeModule(name, tests, collects))
    return FakeSuite(tuple(modules), chance.choice(("",) * 12 + ("unbuildable", "unusable")))


def check(made: MiniCluster, evaluation: int, project: int, given: FakeSuite) -> None:
    """The verdicts are those of serial pytest, or say that they are unconfirmed."""
    outcomes = made.log.outcomes(evaluation, project)
    if given.start:
        assert list(outcomes.values()) == ["error"]
        return
    expected = given.expected()
    if not made.log.projects[evaluation, project].audited and outcomes.keys() != expected.keys():
        assert made.log.projects[evaluation, project].notes
        return
    strange = {(one.name, test.id) for one in given.modules for test in one.tests if test.does == "strange"}
    for key, said in expected.items():
        where = (evaluation, project, *key)
        if key in strange and not made.log.projects[evaluation, project].audited:
            # Its only session died with it, and the whole suite could not be collected.
            assert outcomes[key] in (said, "lost")
            continue
        assert outcomes[key] == said or where in made.log.unconfirmed, f"{key}: {outcomes[key]}, not {said}"
    assert outcomes.keys() == expected.keys()


@pytest.mark.parametrize("seed", range(40))
def test_random_suites_without_faults(seed: int) -> None:
    chance = random.Random(seed)
    made = MiniCluster(seed, slots=chance.choice((0, 1)))
    for number in range(chance.randint(1, 4)):
        made.worker(f"w{number}", chance.choice((1, 2)))
    given: list[FakeSuite] = []
    for _ in range(chance.randint(1, 3)):
        suites = [random_suite(chance) for _ in range(chance.randint(1, 3))]
        made.submit(*suites, slots=chance.choice((0, 0, 0, 2)), priority=chance.choice((0, 1)))
        given.append(suites)  # type: ignore[arg-type]
        made.run_for(chance.uniform(0, 2))
    made.run(seconds=3000)
    made.settle()
    for evaluation, suites in enumerate(given, 1):
        for project, one in enumerate(suites):  # type: ignore[arg-type, var-annotated]
            check(made, evaluation, project, one)
    assert not any(life.runners for life in made.lives.values())


def trouble(made: MiniCluster, chance: random.Random) -> None:
    """One random fault, or the end of one."""
    names = [name for name, life in made.lives.items() if name != "m" and life.alive]
    kind = chance.choice(("cut", "cut", "kill", "join", "stop", "master"))
    if kind == "master":
        made.kill("m")
        made.later(chance.uniform(0.1, 3.0), made.restart_master)
        made.run(lambda: made.lives["m"].alive, 60)
    elif kind == "join" or len(names) < 2:
        made.worker(f"x{len(made.lives)}", chance.choice((1, 2)))
    elif kind == "cut":
        name = chance.choice(names)
        made.cut(name)
        made.later(chance.uniform(0.3, 4.0), lambda: made.connect(name))
    elif kind == "kill":
        made.kill(chance.choice(names))
    else:
        made.tell_node(chance.choice(names), ev.Stopping())


# 1158: a superseded verdict whose answer is lost with its connection, and which is sent again.
@pytest.mark.parametrize("seed", [*range(60), 1158])
def test_random_suites_under_faults(seed: int) -> None:
    chance = random.Random(seed)
    made = MiniCluster(seed)
    for number in range(chance.randint(2, 4)):
        made.worker(f"w{number}", chance.choice((1, 2)))
    made.settle()
    given = [random_suite(chance) for _ in range(3)]
    made.submit(*given)
    made.settle(0.3)
    for _ in range(chance.randint(1, 5)):
        made.run_for(chance.uniform(0.1, 4.0))
        trouble(made, chance)
    made.worker("last", 2)
    made.run(seconds=3000)
    made.settle(30.0)
    for project, one in enumerate(given):
        check(made, 1, project, one)
    assert not any(life.runners for life in made.lives.values())


@pytest.mark.parametrize("seed", range(10))
def test_cancel_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)
    made = MiniCluster(seed)
    for number in range(3):
        made.worker(f"w{number}")
    made.urls = {"one": random_suite(chance)}
    made.submit("one", random_suite(chance), random_suite(chance))
    made.run_for(chance.uniform(0.0, 3.0))
    ticket = made.ask(m.CancelEvaluation(evaluation=1))
    made.run(seconds=600)
    made.settle()
    assert made.answers[ticket].status in (200, 202)
    assert made.log.ended[1].state in ("cancelled", "finished", "failed")
    assert not any(life.runners for life in made.lives.values())
