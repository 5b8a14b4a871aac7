"""Whole runs over a cluster in memory: what people and workers see, one behaviour each."""

from __future__ import annotations

import pytest

from node.core import records as rec
from proto import messages as m
from tests.core.fakerunner import suite
from tests.core.minicluster import MiniCluster

MIXED = "a: pass pass fail | b: skip pass xfail | c: pass error | d: pass pass pass"


def cluster(workers: int = 2, slots: int = 1, seed: int = 0) -> MiniCluster:
    made = MiniCluster(seed)
    for number in range(workers):
        made.worker(f"w{number}", slots)
    made.settle()
    return made


def evaluate(made: MiniCluster, text: str, **options: object) -> int:
    """Run one suite to its end; the evaluation's id."""
    given = suite(text)
    ticket = made.submit(given, **options)
    made.run()
    made.settle()
    evaluation: int = made.answers[ticket].body["id"]
    assert made.log.outcomes(evaluation) == given.expected()
    assert made.log.ended[evaluation].state == "finished"
    return evaluation


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_test_gets_the_verdict_of_serial_pytest(workers: int) -> None:
    evaluate(cluster(workers), MIXED)


def test_a_master_alone_runs_on_its_own_slot() -> None:
    made = MiniCluster(slots=1)
    evaluate(made, MIXED)


def test_work_is_split_over_the_slots() -> None:
    made = cluster(3)
    evaluation = evaluate(made, MIXED)
    nodes = {r.node for r in made.log.of(rec.Attempted, evaluation)}
    assert len(nodes) > 1


def test_a_passing_split_project_runs_every_test_once() -> None:
    made = cluster(3)
    evaluate(made, "a: pass pass | b: pass pass | c: pass")
    assert len(made.ran) == len(set(made.ran)) == 5


def test_a_failure_that_only_a_split_shows_is_not_reported() -> None:
    made = cluster(3)
    evaluation = evaluate(made, "a: pass split | b: pass | c: pass")
    sensitive = [r for r in made.log.of(rec.Attempted, evaluation) if r.split_sensitive]
    assert [r.test.nodeid for r in sensitive] == ["test_a.py::test_1"]


def test_a_module_with_other_tests_under_whole_collection_is_planned_anew() -> None:
    made = cluster(3)
    evaluation = evaluate(made, "a(imports): pass pass pass | b: pass | c: pass")
    (audited,) = made.log.of(rec.Audited, evaluation)
    assert audited.dependent


def test_a_project_known_to_be_dependent_is_collected_whole() -> None:
    made = cluster(3)
    text = suite("a(imports): pass pass pass | b: pass | c: pass")
    first = made.submit(text)
    made.run()
    package = next(iter(made.suites))
    made.suites = {}
    made.submit(text)
    assert list(made.suites) == [package]
    made.run()
    assert first in made.answers
    assert [r.mode for r in made.log.of(rec.Listed, 2)] == ["whole"]


def test_the_suspect_of_a_crash_is_tried_alone_and_nobody_else_is_blamed() -> None:
    evaluate(cluster(2), "a: pass die pass | b: pass die_once pass | c: pass")


def test_a_module_that_kills_its_runner_while_collected_is_crashed() -> None:
    evaluate(cluster(2), "a(die): pass pass | b: pass | c(die_once): pass pass")


def test_a_hanging_test_is_timeout_and_the_rest_runs() -> None:
    evaluate(cluster(2), "a: pass hang pass pass | b: pass hang")


@pytest.mark.parametrize("collects", ["error", "skip"])
def test_a_module_that_is_not_collected_has_a_verdict_of_its_own(collects: str) -> None:
    evaluate(cluster(2), f"a({collects}): pass | b: pass pass | c: pass")


def test_tests_of_one_group_run_in_one_session() -> None:
    made = cluster(3)
    evaluation = evaluate(made, "a: pass@g pass | b: pass pass@g | c: pass@g pass@h | d: pass@h")
    nodes: dict[str, set[str]] = {"g": set(), "h": set()}
    groups = {t.id: t.group for module in made.suites[f"{0:064x}"].modules for t in module.tests if t.group}
    for record in made.log.of(rec.Attempted, evaluation):
        if record.test in groups:
            nodes[groups[record.test]].add(record.node)
    assert all(len(used) == 1 for used in nodes.values())


@pytest.mark.parametrize("start", ["unbuildable", "unusable"])
def test_a_project_that_cannot_start_is_one_error(start: str) -> None:
    made = cluster(2)
    broken, fine = suite("a: pass"), suite(MIXED)
    broken = type(broken)(broken.modules, start)
    made.submit(broken, fine)
    made.run()
    assert [r.project for r in made.log.of(rec.ProjectFailed, 1)] == [0]
    assert made.log.outcomes(1, 1) == fine.expected()
    assert made.log.ended[1].state == "finished"


def test_an_evaluation_without_any_project_that_ran_is_failed() -> None:
    made = cluster(2)
    made.submit("missing")
    made.run()
    assert [r.phase for r in made.log.of(rec.ProjectFailed, 1)] == ["fetch"]
    assert made.log.ended[1].state == "failed"


def test_repositories_are_cloned_and_run() -> None:
    made = cluster(2)
    made.urls = {f"r{n}": suite(MIXED) for n in range(10)}
    made.submit(*made.urls)
    made.run()
    assert all(made.log.outcomes(1, n) == suite(MIXED).expected() for n in range(10))


def test_a_project_without_tests_is_finished_with_a_note() -> None:
    made = cluster(2)
    made.submit(suite("a:"), type(suite(""))(()))
    made.run()
    assert made.log.ended[1].state == "finished"
    assert made.log.projects[1, 1].notes


@pytest.mark.parametrize("options", [{"collection": "whole"}, {"collection": "lazy"}, {"slots": 1}])
def test_options_say_how_it_is_collected(options: dict[str, object]) -> None:
    made = cluster(3)
    evaluation = evaluate(made, MIXED, **options)
    (listed,) = made.log.of(rec.Listed, evaluation)
    assert listed.mode == options.get("collection", "whole")


def test_the_same_request_gives_the_same_id() -> None:
    made = cluster(1)
    one = made.submit(suite(MIXED), request="again")
    two = made.submit(suite(MIXED), request="again")
    made.run()
    assert made.answers[one].body["id"] == made.answers[two].body["id"]
    assert len(made.log.ended) == 1


def test_cancel_ends_the_sessions_first_and_can_be_repeated() -> None:
    made = cluster(2)
    made.submit(suite(MIXED))
    made.run(lambda: len(made.ran) >= 2)
    one = made.ask(m.CancelEvaluation(evaluation=1))
    two = made.ask(m.CancelEvaluation(evaluation=1))
    made.run()
    assert not any(life.runners for life in made.lives.values())
    made.settle()
    assert made.log.ended[1].state == "cancelled"
    assert {made.answers[one].status, made.answers[two].status} <= {200, 202}
    three = made.ask(m.CancelEvaluation(evaluation=1))
    made.settle()
    assert made.answers[three].status == 200


def test_cancel_before_anything_ran() -> None:
    made = cluster(0)
    made.submit(suite(MIXED))
    made.settle()
    made.ask(m.CancelEvaluation(evaluation=1))
    made.run(seconds=60)
    assert made.log.ended[1].state == "cancelled"


def test_a_worker_that_joins_later_takes_part() -> None:
    made = cluster(1)
    made.submit(suite(" | ".join(f"m{n}: pass pass pass" for n in range(12))), collection="lazy")
    made.run(lambda: len(made.ran) >= 3)
    made.worker("late")
    made.run()
    assert "late:7000" in {r.node for r in made.log.of(rec.Attempted, 1)}


def test_a_lost_worker_costs_no_verdict() -> None:
    made = cluster(3)
    given = suite(" | ".join(f"m{n}: pass fail pass" for n in range(9)))
    made.submit(given)
    made.run(lambda: len(made.ran) >= 5)
    made.kill("w1")
    made.run()
    assert made.log.outcomes(1) == given.expected()


def test_a_broken_connection_costs_no_verdict() -> None:
    made = cluster(2)
    given = suite(" | ".join(f"m{n}: pass fail pass" for n in range(9)))
    made.submit(given)
    made.run(lambda: len(made.ran) >= 5)
    made.cut("w1")
    made.run_for(0.5)
    made.connect("w1")
    made.run()
    made.settle()
    assert made.log.outcomes(1) == given.expected()
    assert not made.lives["w1"].runners


def test_a_worker_told_to_stop_hands_back_and_leaves() -> None:
    from node.core import events as ev

    made = cluster(2)
    given = suite(" | ".join(f"m{n}: pass fail pass" for n in range(9)))
    made.submit(given)
    made.run(lambda: len(made.ran) >= 5)
    made.tell_node("w1", ev.Stopping())
    made.run(lambda: made.lives["w1"].stopped, seconds=60)
    made.run()
    assert made.log.outcomes(1) == given.expected()


def test_a_restarted_master_goes_on_where_its_disk_ends() -> None:
    made = cluster(2)
    given = suite(" | ".join(f"m{n}: pass fail pass" for n in range(9)))
    made.submit(given)
    made.run(lambda: len(made.ran) >= 8)
    made.kill("m")
    made.run_for(1.0)
    made.restart_master()
    made.run()
    assert made.log.outcomes(1) == given.expected()


def test_a_time_limit_ends_the_evaluation_with_what_it_has() -> None:
    made = cluster(1)
    made.submit(suite(" | ".join(f"m{n}: pass pass pass" for n in range(40))), timeout_evaluation=3.0)
    made.run()
    said = set(made.log.outcomes(1).values())
    assert made.log.ended[1].state == "finished"
    assert made.log.ended[1].detail
    assert {"passed", "notrun"} <= said <= {"passed", "timeout", "notrun"}


def test_maxfail_acts_on_the_whole_evaluation() -> None:
    made = cluster(1)
    made.submit(suite("a: pass fail pass pass | b: pass pass"), pytest_args=("-x",))
    made.run()
    said = list(made.log.outcomes(1).values())
    assert said.count("failed") == 1
    assert "notrun" in said


def test_higher_priority_goes_first() -> None:
    made = cluster(0)
    made.submit(suite("a: pass pass"))
    made.submit(suite("b: pass pass"), priority=5)
    made.settle()
    made.worker("w0")
    made.run()
    ended = [r.evaluation for r in made.log.records if isinstance(r, rec.Ended)]
    assert ended == [2, 1]


def test_the_network_names_only_connected_nodes() -> None:
    made = cluster(2)
    ticket = made.ask(m.GetNetwork())
    body = {node: set(others) for node, others in made.answers[ticket].body.items()}
    every = {"m:7000", "w0:7000", "w1:7000"}
    assert body == {node: every - {node} for node in every}
    made.kill("w1")
    made.settle()
    ticket = made.ask(m.GetNetwork())
    assert made.answers[ticket].body == {"m:7000": ["w0:7000"], "w0:7000": ["m:7000"]}


@pytest.mark.parametrize("seed", range(10))
def test_the_audit_gives_its_slot_to_what_must_run_again(seed: int) -> None:
    made = cluster(2, seed=seed)
    given = suite("a: " + "pass " * 30)
    made.submit(given, collection="lazy")
    made.run(lambda: len(made.ran) >= 10)

    def auditors() -> list[str]:
        opened = [(to, one) for _, to, one in made.messages if isinstance(one, m.OpenSession)]
        return [to for to, one in opened if one.purpose == "audit"]

    made.run(auditors, 20)  # type: ignore[arg-type]
    auditor = auditors()[0]
    made.kill("w1" if auditor == "w0" else "w0")
    made.run(seconds=200)
    assert made.log.outcomes(1) == given.expected()
