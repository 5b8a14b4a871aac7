"""The routes that read: what is asked of the node, what is passed on, how errors are said."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from fakenode import FakeNode
from flask.testing import FlaskClient

from proto.messages import (
    CancelEvaluation,
    DrainNode,
    GetEvaluation,
    GetHealth,
    GetNetwork,
    GetStats,
    GetTests,
    ListEvaluations,
    Query,
    Response,
)

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/evaluation", ListEvaluations()),
        ("GET", "/evaluation/", ListEvaluations()),
        ("GET", "/evaluation?before=7&limit=3", ListEvaluations(before=7, limit=3)),
        ("GET", "/evaluation/12", GetEvaluation(evaluation=12)),
        ("DELETE", "/evaluation/12", CancelEvaluation(evaluation=12)),
        ("GET", "/evaluation/12/tests", GetTests(evaluation=12)),
        (
            "GET",
            "/evaluation/12/tests?state=failed&project=p%20q&page=2&limit=5",
            GetTests(evaluation=12, state="failed", project="p q", page=2, limit=5),
        ),
        ("GET", "/stats", GetStats()),
        ("GET", "/network", GetNetwork()),
        ("GET", "/health", GetHealth()),
        ("POST", "/network/127.0.0.1:7001/drain", DrainNode(node="127.0.0.1:7001")),
    ],
)
def test_bytes_pass_through(web: FlaskClient, node: FakeNode, method: str, path: str, query: Query) -> None:
    node.answer = lambda _query: Response(id=0, status=200, body=b'{"spaced":  "as it came"}')

    response = web.open(path, method=method)

    assert (response.status_code, response.data) == (200, b'{"spaced":  "as it came"}')
    assert response.content_type == "application/json"
    assert node.asked == [query]


def test_problem_of_the_node(web: FlaskClient, node: FakeNode) -> None:
    response = web.get("/evaluation/99")
    assert (response.status_code, response.content_type) == (404, PROBLEM)
    assert response.get_json()["title"] == "Not found"


def test_retry_after_is_passed_on(web: FlaskClient, node: FakeNode) -> None:
    node.answer = lambda _query: Response(id=0, status=503, body=b"{}", retry_after=7)
    assert web.get("/stats").headers["Retry-After"] == "7"


@pytest.mark.parametrize("number", ["abc", "-1", "1.5", "1_0", "٣", "9" * 19, "0x1"])
@pytest.mark.parametrize("tail", ["", "/tests", "/report.xml", "/report.jsonl"])
def test_impossible_id(web: FlaskClient, node: FakeNode, number: str, tail: str) -> None:
    response = web.get(f"/evaluation/{number}{tail}")
    assert (response.status_code, response.content_type) == (404, PROBLEM)
    assert node.asked == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/evaluation?limit=0", "limit"),
        ("/evaluation?limit=1001", "limit"),
        ("/evaluation?before=x", "before"),
        ("/evaluation?before=99999999999999999999", "before"),
        ("/evaluation/1/tests?page=0", "page"),
        ("/evaluation/1/tests?limit=+5", "limit"),
        (f"/evaluation/1/tests?state={'x' * 600}", "state"),
    ],
)
def test_bad_parameter(web: FlaskClient, node: FakeNode, path: str, field: str) -> None:
    response = web.get(path)
    assert (response.status_code, response.get_json()["field"]) == (422, field)
    assert node.asked == []


def test_no_such_route_and_method(web: FlaskClient) -> None:
    response = web.get("/nowhere")
    assert (response.status_code, response.content_type) == (404, PROBLEM)
    response = web.put("/evaluation")
    assert (response.status_code, response.content_type) == (405, PROBLEM)
    assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_index(web: FlaskClient, node: FakeNode) -> None:
    body = web.get("/").get_json()
    assert body["service"] == "testring"
    assert "/evaluation/{id}/report.xml" in body["routes"]


def test_no_master(make_web: Callable[..., FlaskClient]) -> None:
    response = make_web().get("/stats")
    assert (response.status_code, response.content_type) == (503, PROBLEM)
    assert int(response.headers["Retry-After"]) > 0
    assert "no master is reachable" in response.get_json()["detail"]


def test_a_bug_shows_no_traceback(web: FlaskClient, node: FakeNode) -> None:
    node.answer = lambda _query: Response(id=0, status=202, body=b"not JSON")
    web.application.config["PROPAGATE_EXCEPTIONS"] = False
    response = web.post("/evaluation", json={"projects": ["https://github.com/user/repo"]})
    assert (response.status_code, response.content_type) == (500, PROBLEM)
    assert "Traceback" not in response.text
    assert "JSON" not in response.text


def test_tokens(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    node.answer = lambda _query: (200, {})
    web = make_web(tokens=(("reader", "read"), ("writer", "submit")))

    def status(method: str, path: str, authorization: str = "") -> int:
        headers = {"Authorization": authorization} if authorization else {}
        response = web.open(path, method=method, headers=headers)
        assert response.status_code == 200 or response.content_type == PROBLEM
        return response.status_code

    assert status("GET", "/health") == 200
    assert status("GET", "/") == 200
    for wrong in ("", "Bearer", "Bearer nobody", "Basic reader", "reader"):
        assert status("GET", "/stats", wrong) == 401
    assert status("GET", "/stats", "Bearer reader") == 200
    assert status("GET", "/stats", "bearer writer") == 200
    assert status("DELETE", "/evaluation/1", "Bearer reader") == 403
    assert status("DELETE", "/evaluation/1", "Bearer writer") == 200
    assert status("POST", "/evaluation", "Bearer reader") == 403


def test_401_names_the_scheme(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    response = make_web(tokens=(("t", "read"),)).get("/stats")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_contract_keys_are_untouched(web: FlaskClient, node: FakeNode) -> None:
    stats = {"all": {"failed": 2, "passed": 30, "projects": 2, "evaluations": 3}, "nodes": []}
    node.answer = lambda _query: (200, stats)
    assert msgspec.json.decode(web.get("/stats").data) == stats
