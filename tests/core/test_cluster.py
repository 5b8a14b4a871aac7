"""The whole core in memory: every test gets one verdict, whatever dies and in whatever order."""

from __future__ import annotations

import pytest

from node.core import records as rec
from proto import messages as m
from proto.messages import Options, TestId
from tests.core.harness import Cluster, Suite

SEEDS = range(40)


def suite(modules: int = 6, tests: int = 4) -> Suite:
    return Suite({f"test_{i}.py": {f"t{k}": "passed" for k in range(tests)} for i in range(modules)})


def expected(suite: Suite, whole: bool = True) -> dict[TestId, str]:
    return {
        test: {"die": "crashed"}.get(suite.outcome(test, whole), suite.outcome(test, whole))
        for name in suite.modules
        for test in suite.tests(name, whole)
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_suite_is_split_and_every_test_has_its_verdict(seed: int) -> None:
    cluster = Cluster(suite(), workers=3, seed=seed)
    ticket = cluster.submit()
    cluster.run()
    assert cluster.answers[ticket].status == 202
    assert cluster.verdicts() == expected(cluster.suite)
    assert cluster.state() == "finished"
    nodes = {r.node for r in cluster.records if isinstance(r, rec.Attempted)}
    assert len(nodes) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_failure_under_a_split_is_confirmed_before_it_stands(seed: int) -> None:
    project = suite()
    project.modules["test_1.py"]["t0"] = "failed"
    project.modules["test_2.py"]["flaky"] = "failed"
    project.whole_only["flaky"] = "passed"
    cluster = Cluster(project, workers=2, seed=seed)
    cluster.submit()
    cluster.run()
    assert cluster.verdicts() == expected(project)
    sensitive = [r for r in cluster.records if isinstance(r, rec.Attempted) and r.split_sensitive]
    assert [r.test.nodeid for r in sensitive] == ["test_2.py::flaky"]


@pytest.mark.parametrize("seed", SEEDS)
def test_tests_that_only_a_whole_collection_finds_are_run_too(seed: int) -> None:
    project = suite()
    project.hidden["test_3.py"] = ("extra",)
    cluster = Cluster(project, workers=2, seed=seed)
    cluster.submit()
    cluster.run()
    assert cluster.verdicts() == expected(project)
    assert [r.dependent for r in cluster.records if isinstance(r, rec.Audited)] == [True]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_test_that_kills_its_runner_is_crashed_and_nobody_else_is(seed: int) -> None:
    project = suite()
    project.modules["test_4.py"]["t1"] = "die"
    cluster = Cluster(project, workers=2, seed=seed)
    cluster.submit()
    cluster.run()
    assert cluster.verdicts() == expected(project)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_worker_loses_no_verdict(seed: int) -> None:
    cluster = Cluster(suite(8), workers=3, seed=seed)
    cluster.submit()
    for _ in range(30 + seed * 3):
        cluster.step()
    cluster.kill("w1")
    cluster.run()
    assert cluster.verdicts() == expected(cluster.suite)
    assert cluster.state() == "finished"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_drained_worker_hands_back_and_stops(seed: int) -> None:
    cluster = Cluster(suite(8), workers=2, seed=seed)
    cluster.submit()
    for _ in range(30 + seed * 3):
        cluster.step()
    cluster.ask(m.DrainNode(node="w0"))
    cluster.run()
    assert cluster.verdicts() == expected(cluster.suite)
    assert cluster.stopped == {"w0"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_that_joins_during_a_run_takes_part(seed: int) -> None:
    cluster = Cluster(suite(20), workers=1, seed=seed)
    cluster.submit(Options(collection="lazy"))
    for _ in range(40):
        cluster.step()
    cluster.add_worker("late")
    cluster.run()
    assert cluster.verdicts() == expected(cluster.suite)
    assert "late:7000" in {r.node for r in cluster.records if isinstance(r, rec.Attempted)}


@pytest.mark.parametrize("seed", SEEDS)
def test_many_projects_share_the_slots(seed: int) -> None:
    cluster = Cluster(suite(3), workers=2, seed=seed)
    cluster.submit(projects=5)
    cluster.run()
    assert cluster.state() == "finished"
    ended = [r for r in cluster.records if isinstance(r, rec.ProjectEnded)]
    assert sorted(r.project for r in ended) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", SEEDS)
def test_cancel_ends_the_sessions_and_then_says_so(seed: int) -> None:
    cluster = Cluster(suite(), workers=2, seed=seed)
    cluster.submit()
    for _ in range(40 + seed):
        cluster.step()
    ticket = cluster.ask(m.CancelEvaluation(evaluation=1))
    cluster.run()
    assert cluster.answers[ticket].status == 200
    assert cluster.state() in ("cancelled", "finished")
    assert not cluster.runners


def test_the_same_request_gets_the_same_id() -> None:
    cluster = Cluster(suite(), workers=0)
    first, second = cluster.submit(request="same"), cluster.submit(request="same")
    cluster.run()
    assert cluster.answers[first].body["id"] == cluster.answers[second].body["id"] == 1


def test_a_master_alone_runs_the_tests_itself() -> None:
    cluster = Cluster(suite(), workers=0)
    cluster.submit()
    cluster.run()
    assert cluster.verdicts() == expected(cluster.suite)


def test_a_project_without_modules_finishes_with_nothing_planned() -> None:
    cluster = Cluster(Suite({}), workers=2)
    cluster.submit()
    cluster.run()
    assert cluster.state() == "finished"
    assert cluster.verdicts() == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restarted_master_goes_on_from_its_log(seed: int) -> None:
    cluster = Cluster(suite(6), workers=2, seed=seed)
    cluster.submit()
    for _ in range(60 + seed * 2):
        cluster.step()
    records = tuple(r for r in cluster.records if not isinstance(r, rec.Joined | rec.Departed))
    again = Cluster(cluster.suite, workers=0, seed=seed, before=records)
    for name in ("a", "b"):
        again.add_worker(name)
    again.run()
    if records:
        assert again.verdicts() == expected(cluster.suite)
        assert again.state() == "finished"
