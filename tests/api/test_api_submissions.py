"""POST /evaluation: what is taken, what is refused and how that is said."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable

import pytest
from fakenode import FakeNode, problem
from flask.testing import FlaskClient

from proto.messages import Abort, Options, SubmitArchive, SubmitProjects

ZIP = b"PK\x03\x04 the node opens it, not the API"
SHA256 = hashlib.sha256(ZIP).hexdigest()
URL = "https://github.com/user/repo"


def form(data: bytes = ZIP, **fields: str) -> dict[str, object]:
    return {"file": (io.BytesIO(data), "all_projects.zip"), **fields}


def check_problem(response, status: int, **members: object) -> dict[str, object]:
    """The answer is a problem with this status and these members."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert {"type", "title", "status", "detail"} <= body.keys()
    assert body["status"] == status
    assert {name: body.get(name) for name in members} == members
    return body


def test_form_is_stored_then_submitted(web: FlaskClient, node: FakeNode) -> None:
    response = web.post("/evaluation", data=form())

    assert (response.status_code, response.get_json()["id"]) == (202, 1)
    assert response.headers["Location"] == "/evaluation/1"
    assert node.stored == {SHA256: len(ZIP)}
    [query] = node.asked
    assert isinstance(query, SubmitArchive)
    assert (query.sha256, query.filename, query.options) == (SHA256, "all_projects.zip", Options())


def test_form_with_options(web: FlaskClient, node: FakeNode) -> None:
    response = web.post("/evaluation", data=form(options='{"pytest_args": ["-k", "x"], "slots": 2}'))

    assert response.status_code == 202
    assert node.asked[0].options == Options(pytest_args=("-k", "x"), slots=2)


def test_raw_zip_with_options_in_the_query(web: FlaskClient, node: FakeNode) -> None:
    response = web.post(
        '/evaluation?filename=p.zip&options={"timeout_test": 5}', data=ZIP, content_type="application/zip"
    )

    assert response.status_code == 202
    assert node.asked[0] == SubmitArchive(
        request=node.asked[0].request, sha256=SHA256, filename="p.zip", options=Options(timeout_test=5)
    )


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/octet-stream", ""])
def test_raw_zip_without_its_type(web: FlaskClient, node: FakeNode, kind: str) -> None:
    response = web.post("/evaluation", data=ZIP, headers={"Content-Type": kind})

    assert response.status_code == 202, response.text
    assert node.stored == {SHA256: len(ZIP)}


def test_projects(web: FlaskClient, node: FakeNode) -> None:
    body = {"auth_token": "t", "projects": [URL, f" {URL}2 "], "options": {"ref": "v1", "env": {"A": "1"}}}
    response = web.post("/evaluation", json=body)

    assert response.status_code == 202
    [query] = node.asked
    assert query == SubmitProjects(
        request=query.request,
        projects=(URL, f"{URL}2"),
        auth_token="t",
        options=Options(ref="v1", env={"A": "1"}),
    )


@pytest.mark.parametrize("token", [{}, {"auth_token": None}, {"auth_token": ""}])
def test_projects_without_token(web: FlaskClient, node: FakeNode, token: dict[str, object]) -> None:
    assert web.post("/evaluation", json={"projects": [URL], **token}).status_code == 202
    assert node.asked[0].auth_token == ""


def test_same_key_same_id(web: FlaskClient) -> None:
    answers = [
        web.post("/evaluation", json={"projects": [URL]}, headers={"Idempotency-Key": key}).get_json()["id"]
        for key in ("a", "b", "a")
    ]
    assert answers == [1, 2, 1]


def test_same_key_of_two_callers(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    web = make_web(tokens=(("one", "submit"), ("two", "submit")))
    ids = [
        web.post(
            "/evaluation",
            json={"projects": [URL]},
            headers={"Idempotency-Key": "k", "Authorization": f"Bearer {token}"},
        ).get_json()["id"]
        for token in ("one", "two")
    ]
    assert ids == [1, 2]


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_bad_key(web: FlaskClient, key: str) -> None:
    response = web.post("/evaluation", json={"projects": [URL]}, headers={"Idempotency-Key": key})
    check_problem(response, 422, field="Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "projects"),
        ({"projects": []}, "projects"),
        ({"projects": "x"}, "projects"),
        ({"projects": [1]}, "projects[0]"),
        ({"projects": [""]}, "projects[0]"),
        ({"projects": ["  "]}, "projects[0]"),
        ({"projects": [URL], "auth_token": 7}, "auth_token"),
        ({"projects": [URL], "options": []}, "options"),
        ({"projects": [URL], "options": {"colour": 1}}, "options.colour"),
        ({"projects": [URL], "options": {"slots": "two"}}, "options.slots"),
        ({"projects": [URL], "options": {"slots": -1}}, "options.slots"),
        ({"projects": [URL], "options": {"pytest_args": "-k x"}}, "options.pytest_args"),
        ({"projects": [URL], "options": {"strategy": "best"}}, "options.strategy"),
        ({"projects": [URL], "options": {"env": {"A": 1}}}, "options.env[...]"),
        ({"projects": [URL], "timeout_test": 5}, "timeout_test"),
    ],
)
def test_unfit_json_names_the_field(web: FlaskClient, node: FakeNode, body: object, field: str) -> None:
    said = check_problem(web.post("/evaluation", json=body), 422, field=field)
    assert field.split(".")[-1].split("[")[0] in said["detail"]
    assert node.asked == []


def test_body_that_is_not_an_object(web: FlaskClient) -> None:
    check_problem(web.post("/evaluation", json=[URL]), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nope",
        b'{"projects": ["\xff"]}',
        b'{"projects": [NaN]}',
        b'{"a": ' + b"[" * 200_000,
        b'{"projects": ["u"], "auth_token": "\\ud800"}',
    ],
    ids=["empty", "cut", "word", "utf-8", "nan", "deep", "surrogate"],
)
def test_malformed_json(web: FlaskClient, body: bytes) -> None:
    check_problem(web.post("/evaluation", data=body, content_type="application/json"), 400)


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [("{", 400, "options"), ('{"x": 1}', 422, "options.x"), ("[]", 422, "options")],
)
def test_bad_options_beside_an_archive(web: FlaskClient, options: str, status: int, field: str) -> None:
    check_problem(web.post("/evaluation", data=form(options=options)), status, field=field)
    raw = web.post("/evaluation", query_string={"options": options}, data=ZIP, content_type="application/zip")
    check_problem(raw, status, field=field)


def test_form_without_file(web: FlaskClient, node: FakeNode) -> None:
    check_problem(web.post("/evaluation", data={"archive": (io.BytesIO(ZIP), "a.zip")}), 400, field="file")
    said = check_problem(web.post("/evaluation", data={"file": "x"}, content_type="multipart/form-data"), 400)
    assert "text field" in said["detail"]
    assert node.stored == {}


def test_form_with_two_files(web: FlaskClient) -> None:
    two = [(io.BytesIO(ZIP), "a.zip"), (io.BytesIO(ZIP), "b.zip")]
    check_problem(web.post("/evaluation", data={"file": two}), 400, field="file")


def test_broken_form(web: FlaskClient) -> None:
    check_problem(web.post("/evaluation", data=b"x", content_type="multipart/form-data"), 400)
    cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK'
    check_problem(web.post("/evaluation", data=cut, content_type="multipart/form-data; boundary=b"), 400)


def test_empty_archive(web: FlaskClient) -> None:
    check_problem(web.post("/evaluation", data=form(b"")), 400)
    check_problem(web.post("/evaluation", data=b"", content_type="application/zip"), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_wrong_type(web: FlaskClient, kind: str) -> None:
    check_problem(web.post("/evaluation", data=b"a=b", headers={"Content-Type": kind}), 415)


def test_exactly_the_limit_is_taken(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    web = make_web(max_upload=100_000)
    data = b"PK" + os.urandom(99_998)
    assert web.post("/evaluation", data=form(data)).status_code == 202
    assert web.post("/evaluation", data=data, content_type="application/zip").status_code == 202


def test_over_the_limit(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    web = make_web(max_upload=100_000, max_json=1000)
    data = b"PK" + os.urandom(99_999)
    check_problem(web.post("/evaluation", data=form(data)), 413, limit=100_000)
    check_problem(web.post("/evaluation", data=data, content_type="application/zip"), 413, limit=100_000)
    # No length announced and the server ends the stream, as with a chunked body.
    unannounced = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": ""}
    response = web.post("/evaluation", content_type="application/zip", environ_overrides=unannounced)
    check_problem(response, 413, limit=100_000)
    check_problem(web.post("/evaluation", json={"projects": [URL * 40]}), 413, limit=1000)
    assert node.stored == {}


def test_body_that_ends_early(web: FlaskClient, node: FakeNode) -> None:
    short = {
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(ZIP),
        "CONTENT_LENGTH": str(len(ZIP) + 1),
    }
    check_problem(web.post("/evaluation", content_type="application/zip", environ_overrides=short), 400)
    assert node.stored == {}


def test_node_refuses(web: FlaskClient, node: FakeNode) -> None:
    for code, status in (("too-large", 413), ("disk", 507), ("failed", 502)):
        node.refuse = Abort(code=code, reason="because")
        assert "because" in check_problem(web.post("/evaluation", data=form()), status)["detail"]


def test_node_errors_pass_through(web: FlaskClient, node: FakeNode) -> None:
    node.answer = lambda query: problem(400, "Bad archive", entry="../evil")
    check_problem(web.post("/evaluation", data=form()), 400, entry="../evil", title="Bad archive")
    node.answer = lambda query: problem(429, "Queue full")
    check_problem(web.post("/evaluation", json={"projects": [URL]}), 429)


def test_upload_lost_between_store_and_submit_is_sent_again(web: FlaskClient, node: FakeNode) -> None:
    def forget_once(query: object) -> object:
        if len(node.asked) == 1:
            node.stored.clear()
        return node.accept(query)

    node.answer = forget_once
    assert web.post("/evaluation", data=form()).status_code == 202
    first, second = node.asked
    assert first == second


def test_connection_lost_at_submit_is_retried_under_the_same_name(web: FlaskClient, node: FakeNode) -> None:
    def drop_once(query: object) -> object:
        if len(node.asked) == 1:
            node.drop()
        return node.accept(query)

    node.answer = drop_once
    response = web.post("/evaluation", data=form())
    assert (response.status_code, response.get_json()["id"]) == (202, 1)
    assert len({query.request for query in node.asked}) == 1


def test_nothing_stays_in_the_spool(web: FlaskClient, tmp_path) -> None:
    web.post("/evaluation", data=form())
    assert list(tmp_path.iterdir()) == []


def test_uploads_are_bounded(make_web: Callable[..., FlaskClient], node: FakeNode) -> None:
    web = make_web(max_uploads=1)
    inner = []

    def submit_meanwhile(query: object) -> object:
        if not inner:
            inner.append(None)
            inner.append(web.application.test_client().post("/evaluation", data=form()))
        return node.accept(query)

    node.answer = submit_meanwhile
    assert web.post("/evaluation", data=form()).status_code == 202
    check_problem(inner[1], 429, limit=1)
    assert inner[1].headers["Retry-After"]
    assert web.post("/evaluation", data=form()).status_code == 202


def test_no_secret_in_answers(web: FlaskClient) -> None:
    body = {"auth_token": ["s3cret"], "projects": [URL]}
    assert "s3cret" not in json.dumps(check_problem(web.post("/evaluation", json=body), 422))
