"""report.jsonl and report.xml, from pages as the node writes them."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import junitparser
import pytest
import xmlschema
from fakenode import FakeNode, problem
from flask.testing import FlaskClient

from api.reports import IN_MEMORY, junit_names
from proto.messages import GetEvaluation, GetTests, Query

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")
OUTCOMES = (
    "passed",
    "failed",
    "error",
    "skipped",
    "xfailed",
    "xpassed",
    "timeout",
    "crashed",
    "lost",
    "notrun",
)


def record(nodeid: str, outcome: str = "passed", **more: object) -> dict[str, object]:
    attempt = {"outcome": outcome, "seconds": 0.5, "worker": "127.0.0.1:7001", "message": ""}
    base = {
        "project": "chord",
        "module": nodeid.partition("::")[0],
        "nodeid": nodeid,
        "occurrence": 0,
        "outcome": outcome,
        "seconds": 0.5,
        "worker": "127.0.0.1:7001",
        "attempts": [attempt],
        "message": "",
        "output": "",
        "traceback": "",
    }
    return base | more


def serving(
    tests: list[dict[str, object]], *, state: str = "finished", most: int = 5000
) -> Callable[[Query], tuple[int, object]]:
    """A node with these verdicts, in pages; pages over ``most`` are too large for one answer."""

    def answer(query: Query) -> tuple[int, object]:
        if isinstance(query, GetEvaluation):
            return 200, {"id": query.evaluation, "state": state}
        assert isinstance(query, GetTests)
        if query.limit > most:
            return problem(413, "Page too large")
        chosen = [test for test in tests if query.project in ("", test["project"])]
        start = (query.page - 1) * query.limit
        more = query.page + 1 if start + query.limit < len(chosen) else None
        return 200, {"tests": chosen[start : start + query.limit], "page": query.page, "next": more}

    return answer


def suites(web: FlaskClient, path: str = "/evaluation/5/report.xml") -> ElementTree.Element:
    """The report, valid against the schema."""
    response = web.get(path)
    assert response.status_code == 200, response.text
    assert response.content_type.startswith("application/xml")
    SCHEMA.validate(io.BytesIO(response.data))
    return ElementTree.fromstring(response.data)


def test_lines(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving(
        [record("tests/a.py::t[é/ñ]", occurrence=1), record("tests/a.py::u", "failed", message="m")]
    )

    response = web.get("/evaluation/5/report.jsonl")

    assert response.content_type == "application/x-ndjson"
    first, second = map(json.loads, response.data.splitlines())
    assert list(first) == [
        "project",
        "module",
        "nodeid",
        "occurrence",
        "outcome",
        "seconds",
        "worker",
        "attempts",
        "message",
    ]
    assert (first["nodeid"], first["occurrence"]) == ("tests/a.py::t[é/ñ]", 1)
    assert (second["outcome"], second["message"]) == ("failed", "m")
    assert second["attempts"][0]["worker"] == "127.0.0.1:7001"


@pytest.mark.parametrize("most", [5000, 1024, 100, 1])
def test_every_page_once(web: FlaskClient, node: FakeNode, most: int) -> None:
    count = 2500 if most > 1 else 20
    node.answer = serving([record(f"a.py::t{n}") for n in range(count)], most=most)

    lines = web.get("/evaluation/5/report.jsonl").data.splitlines()

    assert [json.loads(line)["nodeid"] for line in lines] == [f"a.py::t{n}" for n in range(count)]


def test_tests_without_a_verdict_have_no_line(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving([record("a.py::t", "pending"), record("a.py::u")])
    [line] = web.get("/evaluation/5/report.jsonl").data.splitlines()
    assert json.loads(line)["nodeid"] == "a.py::u"


def test_nothing_to_report(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving([])
    assert web.get("/evaluation/5/report.jsonl").data == b""
    assert list(suites(web)) == []


@pytest.mark.parametrize("kind", ["jsonl", "xml"])
def test_unknown_evaluation(web: FlaskClient, node: FakeNode, kind: str) -> None:
    response = web.get(f"/evaluation/5/report.{kind}")
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


def test_report_that_breaks_off_does_not_look_whole(web: FlaskClient, node: FakeNode) -> None:
    pages = serving([record(f"a.py::t{n}") for n in range(2000)])
    node.answer = lambda query: problem(503, "gone") if query.page > 1 else pages(query)
    with pytest.raises(Exception, match="answered 503"):
        web.get("/evaluation/5/report.jsonl").get_data()


def test_junit_of_every_outcome(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving([record(f"tests/a.py::T::t_{outcome}", outcome) for outcome in OUTCOMES])

    [suite] = suites(web)

    totals = {name: suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "time")}
    assert totals == {
        "name": "chord",
        "tests": "10",
        "failures": "1",
        "errors": "5",
        "skipped": "2",
        "time": "5.000",
    }
    elements = {case.get("name"): [child.tag for child in case] for case in suite}
    assert elements == {
        "t_passed": [],
        "t_failed": ["failure"],
        "t_error": ["error"],
        "t_skipped": ["skipped"],
        "t_xfailed": ["skipped"],
        "t_xpassed": [],
        "t_timeout": ["error"],
        "t_crashed": ["error"],
        "t_lost": ["error"],
        "t_notrun": ["error"],
    }
    assert {case.get("classname") for case in suite} == {"tests.a.T"}


def test_junit_escapes_whatever_tests_print(web: FlaskClient, node: FakeNode) -> None:
    nasty = "\x1b[31m<&>\"']]> \x00\ufffe\r\n\U0001f600"
    node.answer = serving(
        [record(f"a.py::t[{nasty}]", "failed", project=nasty, message=nasty, traceback=nasty, output=nasty)]
    )

    [suite] = suites(web)

    shown = nasty.replace("\x1b", "#x1B").replace("\x00", "#x00").replace("\ufffe", "#xFFFE")
    [case] = suite
    assert suite.get("name") == shown
    assert case.get("name") == f"t[{shown}]"
    assert case.find("failure").get("message") == shown
    assert case.find("failure").text == case.find("system-out").text == shown


def test_junit_has_a_suite_for_each_project(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving([record("a.py::t", project=name) for name in ("one", "one", "two")])
    assert [(suite.get("name"), len(suite)) for suite in suites(web)] == [("one", 2), ("two", 1)]
    assert [suite.get("name") for suite in suites(web, "/evaluation/5/report.xml?project=two")] == ["two"]


def test_junit_larger_than_memory_allows(web: FlaskClient, node: FakeNode, tmp_path: Path) -> None:
    output = "x" * 100_000
    count = IN_MEMORY // len(output) + 10
    node.answer = serving([record(f"a.py::t{n}", output=output) for n in range(count)], most=16)

    [suite] = suites(web)

    assert len(suite) == count
    assert list(tmp_path.iterdir()) == []


def test_junit_read_by_another_library(web: FlaskClient, node: FakeNode) -> None:
    node.answer = serving([record("a.py::t"), record("a.py::u", "failed", message="assert 1 == 2")])
    report = junitparser.JUnitXml.fromstring(web.get("/evaluation/5/report.xml").data)
    [suite] = list(report)
    assert [(case.name, [r.message for r in case.result]) for case in suite] == [
        ("t", []),
        ("u", ["assert 1 == 2"]),
    ]


@pytest.mark.parametrize("state", ["queued", "preparing", "running"])
def test_no_junit_before_the_end(web: FlaskClient, node: FakeNode, state: str) -> None:
    node.answer = serving([record("a.py::t")], state=state)
    response = web.get("/evaluation/5/report.xml")
    assert (response.status_code, response.get_json()["state"]) == (409, state)
    assert web.get("/evaluation/5/report.jsonl").status_code == 200


@pytest.mark.parametrize(
    ("nodeid", "names"),
    [
        ("tests/a.py::T::t[x::y/z.py]", ("tests.a.T", "t[x::y/z.py]")),
        ("a.py::t", ("a", "t")),
        ("tests/a.py", ("", "tests.a")),
        ("README.rst::README.rst", ("README.rst", "README.rst")),
    ],
)
def test_names_as_pytest_writes_them(nodeid: str, names: tuple[str, str]) -> None:
    assert junit_names(nodeid) == names
