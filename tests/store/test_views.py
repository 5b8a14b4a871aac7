"""The contract's shapes, key by key, from records to JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from node import views
from node.core import records as rec
from node.store import Store
from proto.messages import Outcome, TestId
from tests.store.story import MASTER, ONE, TWO, Story, case

NOW = 1000.0

EVALUATION = {
    "id": 12345, "state": "running", "seconds": 3.2, "passed": 93.75, "failed": 6.25, "grade": 18.75,
    "tests": {"total": 32, "executed": 32, "running": 0, "pending": 0},
    "projects": [
        {
            "name": "chord", "source": "https://...", "state": "finished",
            "passed": 90.0, "failed": 10.0, "grade": 18.0, "tests": {},
            "modules": [{"name": "tests/test_dht.py", "passed": 100.0, "failed": 0.0, "tests": {}}],
        }
    ],
}  # fmt: skip
STATS: Any = {
    "all": {"failed": 2, "passed": 30, "projects": 2, "evaluations": 3},
    "nodes": [
        {"address": "192.168.1.100:7000", "failed": 2, "passed": 10, "projects": 1, "modules": 1,
         "evaluations": [12345]}
    ],
}  # fmt: skip
OUTCOMES_OF_TWO: tuple[Outcome, Outcome] = ("passed", "failed")
REPORT = {"project", "module", "nodeid", "occurrence", "outcome", "seconds", "worker", "attempts", "message"}
"""The keys of a line of ``report.jsonl``; ``/tests`` has them all."""


def _json(view: object) -> Any:
    return json.loads(msgspec.json.encode(view))


def _view(story: Story, live: views.Live | None = None, now: float = NOW) -> Any:
    rows = story.store.evaluation(story.evaluation)
    assert rows is not None
    return _json(views.evaluation_view(rows, live or {}, now))


def _tests(story: Story, **asked: Any) -> Any:
    page = story.store.tests(story.evaluation, **asked)
    assert page is not None
    return _json(views.tests_view(page))


def _covers(example: Any, actual: Any, where: str = "") -> None:
    """Every key of the example is there, with a value of the same type, at every depth."""
    assert type(actual) is type(example), where
    if isinstance(example, dict):
        for key, value in example.items():
            assert key in actual, f"{where}.{key}"
            _covers(value, actual[key], f"{where}.{key}")
    elif isinstance(example, list) and example:
        for item in actual:
            _covers(example[0], item, where)


def test_evaluation_has_every_key_of_the_contract(story: Story) -> None:
    story.accept(12345, rec.Source(name="chord", url="https://github.com/user/chord"))
    story.run({"tests/test_dht.py": "......................", "tests/test_ring.py": "........FF"})
    story.end()
    view = _view(story)
    _covers(EVALUATION, view)
    assert view["seconds"] == 3.2
    assert (view["passed"], view["failed"], view["grade"]) == (93.75, 6.25, 18.75)
    assert view["tests"] == EVALUATION["tests"]
    project = view["projects"][0]
    assert project["source"] == "https://github.com/user/chord"
    assert [module["name"] for module in project["modules"]] == ["tests/test_dht.py", "tests/test_ring.py"]
    assert [module["passed"] for module in project["modules"]] == [100.0, 80.0]


def test_percentages_have_two_digits(story: Story) -> None:
    story.accept()
    story.run({"a.py": "..F"})
    view = _view(story)
    assert (view["passed"], view["failed"], view["grade"]) == (66.67, 33.33, 13.33)


def test_overall_percentages_are_over_tests_and_the_grade_is_the_mean(story: Story) -> None:
    story.accept(1, rec.Source(name="big"), rec.Source(name="small"))
    story.run({"a.py": "........."}, project=0)
    story.run({"b.py": "F"}, project=1)
    view = _view(story)
    assert (view["passed"], view["failed"], view["grade"]) == (90.0, 10.0, 10.0)
    assert [project["grade"] for project in view["projects"]] == [20.0, 0.0]


def test_counts_while_running(story: Story) -> None:
    story.accept()
    story.run({"a.py": "..--", "b.py": "----"})
    view = _view(story, live={(0, "a.py"): 1, (0, "b.py"): 1, (1, "b.py"): 5})
    assert view["state"] == "running"
    assert view["tests"] == {"total": 8, "executed": 2, "running": 2, "pending": 4}
    assert view["projects"][0]["modules"][0]["tests"] == {
        "total": 4, "executed": 2, "running": 1, "pending": 1,
    }  # fmt: skip
    assert view["passed"] == 100.0, "percentages are over the verdicts so far"


def test_running_never_exceeds_what_is_open(story: Story) -> None:
    story.accept()
    story.run({"a.py": "...-"})
    assert _view(story, live={(0, "a.py"): 3})["tests"] == {
        "total": 4, "executed": 3, "running": 1, "pending": 0,
    }  # fmt: skip
    story.tell(story.attempt("a.py", 3, "passed"))
    story.end()
    assert _view(story, live={(0, "a.py"): 1})["tests"]["running"] == 0, "nothing runs when it is over"


def test_nothing_yet_is_zero(story: Story) -> None:
    story.accept()
    view = _view(story)
    assert (view["passed"], view["failed"], view["grade"]) == (0.0, 0.0, 0.0)
    assert view["tests"] == {"total": 0, "executed": 0, "running": 0, "pending": 0}
    assert view["projects"][0]["modules"] == []


def test_seconds_follow_the_clock_until_the_end(story: Story) -> None:
    story.accept()
    assert _view(story, now=104.5)["seconds"] == 4.5
    story.end(at=110.0)
    assert _view(story, now=500.0)["seconds"] == 10.0


@pytest.mark.parametrize(
    ("word", "passed", "failed"),
    [("..x", 100.0, 0.0), (".X", 100.0, 0.0), (".E", 50.0, 50.0), (".T", 50.0, 50.0), (".C", 50.0, 50.0),
     (".L", 50.0, 50.0), (".n", 50.0, 50.0), (".ss", 100.0, 0.0), ("ss", 0.0, 0.0)],
)  # fmt: skip
def test_what_counts(story: Story, word: str, passed: float, failed: float) -> None:
    story.accept()
    story.run({"a.py": word})
    story.end()
    view = _view(story)
    assert (view["passed"], view["failed"]) == (passed, failed)


def test_skipped_stays_in_the_denominator_when_asked(story: Story) -> None:
    story.accept(count_skipped=True)
    story.run({"a.py": ".s"})
    view = _view(story)
    assert (view["passed"], view["failed"], view["grade"]) == (50.0, 0.0, 10.0)


def test_notrun_is_not_executed(story: Story) -> None:
    story.accept()
    story.run({"a.py": ".nn"})
    story.end("cancelled")
    view = _view(story)
    assert view["tests"] == {"total": 3, "executed": 1, "running": 0, "pending": 2}
    assert view["outcomes"] == {"passed": 1, "notrun": 2}
    assert view["state"] == "cancelled"


def test_a_project_that_cannot_be_built_is_one_error(story: Story) -> None:
    story.accept(1, rec.Source(name="good"), rec.Source(name="bad"))
    story.run({"a.py": ".."}, project=0)
    story.tell(
        rec.ProjectFailed(evaluation=1, project=1, phase="build", message="no such package", log="uv says")
    )
    story.end(projects=0)
    view = _view(story)
    bad = view["projects"][1]
    assert (bad["state"], bad["grade"], bad["phase"], bad["detail"], bad["log"]) == (
        "failed", 0.0, "build", "no such package", "uv says",
    )  # fmt: skip
    assert bad["outcomes"] == {"error": 1}
    assert view["grade"] == 10.0
    assert view["tests"]["total"] == 3
    errors = _tests(story, state="error")["tests"]
    assert [(test["project"], test["nodeid"], test["message"]) for test in errors] == [
        ("bad", "(build)", "no such package")
    ]


def test_evaluations_are_listed_newest_first_in_pages(story: Story) -> None:
    for number in (1, 2, 3):
        story.accept(number)
    story.end("failed", detail="no project could be fetched")
    first = _json(views.evaluations_view(story.store.evaluations(0, 2), 2, NOW))
    assert [(row["id"], row["state"]) for row in first["evaluations"]] == [(3, "failed"), (2, "preparing")]
    assert first["evaluations"][0]["detail"] == "no project could be fetched"
    assert first["next"] == "/evaluation?before=2"
    second = _json(views.evaluations_view(story.store.evaluations(2, 2), 2, NOW))
    assert [row["id"] for row in second["evaluations"]] == [1]
    assert second["next"] is None


def test_no_evaluations(store: Store) -> None:
    assert _json(views.evaluations_view(store.evaluations(), 100, NOW)) == {"evaluations": [], "next": None}


def test_a_verdict_has_what_reports_need(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    story.tell(
        story.attempt("a.py", 0, "failed", final=False, message="assert 1 == 2", reports=("call failed",)),
        story.attempt("a.py", 0, "passed", node=TWO, seconds=0.25, split_sensitive=True, output="printed"),
    )
    page = _tests(story)
    (test,) = page["tests"]
    assert test.keys() >= REPORT
    assert (test["project"], test["module"], test["nodeid"], test["occurrence"]) == (
        "chord", "a.py", "a.py::test_0", 0,
    )  # fmt: skip
    assert (test["outcome"], test["seconds"], test["worker"], test["message"]) == ("passed", 0.25, TWO, "")
    assert test["output"] == "printed"
    assert test["split_sensitive"] is True
    assert [(attempt["outcome"], attempt["worker"], attempt["message"]) for attempt in test["attempts"]] == [
        ("failed", ONE, "assert 1 == 2"), ("passed", TWO, ""),
    ]  # fmt: skip
    assert test["attempts"][0]["reports"] == ["call failed"]
    assert test["attempts"][0]["assignment"] == "1.n1.7"


def test_pages_follow_the_planned_order_over_modules(story: Story) -> None:
    story.accept()
    story.plan({"z.py": 3, "empty.py": 0, "a.py": 4})
    for module, count in (("a.py", 4), ("z.py", 3)):
        story.tell(*(story.attempt(module, index, "passed") for index in reversed(range(count))))
    expected = [f"z.py::test_{n}" for n in range(3)] + [f"a.py::test_{n}" for n in range(4)]
    seen: list[str] = []
    number: Any = 1
    while number is not None:
        page = _tests(story, page=number, limit=2)
        assert page["total"] == 7
        seen += [test["nodeid"] for test in page["tests"]]
        number = page["next"]
    assert seen == expected
    assert _tests(story, page=99, limit=2) == {"tests": [], "page": 99, "total": 7, "next": None}


def test_filters(story: Story) -> None:
    story.accept(1, rec.Source(name="one"), rec.Source(name="two"))
    story.run({"a.py": ".F-F"}, project=0)
    story.run({"b.py": "F."}, project=1)

    def ids(**asked: Any) -> list[str]:
        return [test["nodeid"] for test in _tests(story, **asked)["tests"]]

    assert ids(state="failed") == ["a.py::test_1", "a.py::test_3", "b.py::test_0"]
    assert ids(state="failed", limit=1, page=2) == ["a.py::test_3"]
    assert ids(project="two") == ["b.py::test_0", "b.py::test_1"]
    assert ids(state="passed", project="one") == ["a.py::test_0"]
    assert ids(state="pending") == ["a.py::test_2"]
    assert "a.py::test_2" not in ids(), "a test without a verdict has no line"
    assert story.store.tests(99) is None


def test_repeated_node_ids_are_told_apart(story: Story) -> None:
    story.accept()
    twice = (TestId("a.py::t", 0), TestId("a.py::t", 1))
    story.plan({"a.py": 0})
    story.tell(rec.Planned(evaluation=12345, project=0, module="a.py", tests=twice))
    for test, outcome in zip(twice, OUTCOMES_OF_TWO, strict=True):
        story.tell(
            rec.Attempted(evaluation=12345, project=0, module="a.py", test=test, outcome=outcome, final=True)
        )
    assert [(test["nodeid"], test["occurrence"], test["outcome"]) for test in _tests(story)["tests"]] == [
        ("a.py::t", 0, "passed"), ("a.py::t", 1, "failed"),
    ]  # fmt: skip


def test_a_page_of_long_outputs_fits_a_frame(story: Story) -> None:
    story.accept()
    story.plan({"a.py": 100})
    # Control characters take six bytes each in JSON.
    story.tell(*(story.attempt("a.py", n, "failed", output="\x1b" * 60_000, message="m") for n in range(100)))
    page = story.store.tests(12345)
    assert page is not None
    body = msgspec.json.encode(views.tests_view(page))
    assert len(body) < 4 << 20
    test = json.loads(body)["tests"][0]
    assert "left out" in test["output"]
    assert test["message"] == "m"
    assert case("a.py", 0).nodeid == test["nodeid"]


def test_stats_have_exactly_the_keys_of_the_contract(story: Story) -> None:
    story.accept()
    story.run({"a.py": ".F"})
    view = _json(views.stats_view(story.store.stats(), {"m": MASTER, "n1": ONE}))
    assert view.keys() == STATS.keys()
    assert view["all"].keys() == STATS["all"].keys()
    assert view["nodes"] == [
        {"address": MASTER, "failed": 0, "passed": 0, "projects": 0, "modules": 0, "evaluations": []},
        {"address": ONE, "failed": 1, "passed": 1, "projects": 1, "modules": 1, "evaluations": [12345]},
    ]
    assert view["nodes"][0].keys() == STATS["nodes"][0].keys()
