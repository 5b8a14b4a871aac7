"""``submit``, ``watch`` and ``run --server`` against a scripted server."""

from __future__ import annotations

import io
import json
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

from cli import errors
from tests.cli.conftest import evaluation

LINES = [
    {
        "project": "ring",
        "module": "test_a.py",
        "nodeid": "test_a.py::test_x",
        "occurrence": 0,
        "outcome": "failed",
    },
    {
        "project": "ring",
        "module": "test_a.py",
        "nodeid": "test_a.py::test_y",
        "occurrence": 0,
        "outcome": "passed",
    },
]
FAILURE = {
    **LINES[0],
    "traceback": "E   assert 1 == [2]",
    "output": "said before",
    "message": "assert 1 == [2]",
}


def report(*lines: dict) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def form(asked) -> dict[str, bytes]:
    """The parts of a multipart body by name."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + asked.body)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.get_payload()
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "chord"
    root.mkdir()
    (root / "test_a.py").write_text("def test_x(): pass\n")
    return root


def test_a_directory_is_packed_and_options_are_sent(server, testring, tree):
    server.on("POST", "/evaluation", {"id": 12345}, status=202)
    words = ["--extra", "dev", "--requirement", "six==1.17", "--env", "A=b=c", "--timeout-test", "5"]
    words += ["--collection", "whole", "--server", server.url, "--", "-k", "x and not y"]
    result = testring("submit", str(tree), *words)
    assert (result.exit_code, result.stdout) == (errors.OK, "12345\n")
    parts = form(server.asked[0])
    assert json.loads(parts["options"]) == {
        "extras": ["dev"],
        "requirements": ["six==1.17"],
        "env": {"A": "b=c"},
        "timeout_test": 5.0,
        "collection": "whole",
        "pytest_args": ["-k", "x and not y"],
    }
    with zipfile.ZipFile(io.BytesIO(parts["file"])) as archive:
        assert archive.namelist() == ["chord/test_a.py"]
    assert server.asked[0].headers["Idempotency-Key"]


def test_a_503_is_sent_again_under_the_same_key(server, testring, tree):
    server.on("POST", "/evaluation", (503, {}, {}), (202, {"id": 1}, {}))
    assert testring("submit", str(tree), "--server", server.url).exit_code == errors.OK
    first, second = server.asked
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert form(first)["file"] == form(second)["file"]


def test_urls_are_sent_with_the_token_that_is_never_shown(server, testring, monkeypatch, tmp_path):
    monkeypatch.setenv("TESTRING_TOKEN", "hush-1")
    server.on("POST", "/evaluation", {"id": 1}, status=202)
    urls = ["https://github.com/user/a", "https://github.com/user/b"]
    result = testring("submit", *urls, "--ref", "main", "--server", server.url)
    body = json.loads(server.asked[0].body)
    assert body == {"projects": urls, "auth_token": "hush-1", "options": {"ref": "main"}}
    assert "hush-1" not in result.output
    (tmp_path / "token").write_text("hush-2\n")
    testring("submit", *urls, "--token-file", str(tmp_path / "token"), "--server", server.url)
    assert json.loads(server.asked[1].body)["auth_token"] == "hush-2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere/at/all"], "no such file"),
        (["TREE", "https://github.com/user/a"], "cannot be mixed"),
        (["TREE/test_a.py"], "neither a directory nor a zip"),
        (["TREE", "--env", "novalue"], "write NAME=VALUE"),
        (["TREE", "--token-file", "/nowhere"], "cannot be read"),
        (["TREE", "--python", "3" * 1000], "bad option"),
        (["TREE", "--collection", "some"], "Invalid value"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(server, testring, tree, words, said):
    made = [word.replace("TREE", str(tree)) for word in words]
    result = testring("submit", *made, "--server", server.url)
    assert result.exit_code == errors.USAGE
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert server.asked == []


def test_a_problem_is_one_line_with_the_entry(server, testring, tree):
    problem = {"title": "Bad archive", "status": 400, "detail": "a path leaves the archive", "entry": "../x"}
    server.on("POST", "/evaluation", problem, status=400)
    result = testring("submit", str(tree), "--server", server.url)
    assert result.exit_code == errors.USAGE
    assert result.stderr == "testring: 400: a path leaves the archive (../x)\n"


def test_run_shows_failures_and_ends_as_pytest_does(server, testring, tree, tmp_path):
    server.on("POST", "/evaluation", {"id": 7}, status=202)
    server.on("GET", "/evaluation/7", evaluation("running"), evaluation("finished"))
    server.on("GET", "/evaluation/7/report.jsonl", report(*LINES))
    server.on("GET", "/evaluation/7/tests", {"tests": [FAILURE], "next": None})
    server.on("GET", "/evaluation/7/report.xml", b"<testsuites/>")
    result = testring("run", str(tree), "--server", server.url, "--junit-xml", str(tmp_path / "j.xml"))
    assert result.exit_code == errors.TESTS_FAILED
    assert "E   assert 1 == [2]" in result.stdout
    assert "said before" in result.stdout
    assert "1 failed, 1 passed in 1.50s" in result.stdout
    assert (tmp_path / "j.xml").read_bytes() == b"<testsuites/>"


@pytest.mark.parametrize(
    ("state", "lines", "code"),
    [
        ("finished", LINES[1:], errors.OK),
        ("finished", [], errors.NO_TESTS),
        ("finished", [{**LINES[0], "outcome": "lost"}], errors.TESTS_FAILED),
        ("finished", [{**LINES[0], "outcome": "notrun"}], errors.TESTS_FAILED),
        ("finished", [{**LINES[0], "outcome": "skipped"}], errors.OK),
        ("cancelled", LINES[1:], errors.INTERRUPTED),
        ("failed", [], errors.INTERNAL),
    ],
)
def test_exit_codes(server, testring, state, lines, code):
    server.on("GET", "/evaluation/7", evaluation(state))
    server.on("GET", "/evaluation/7/report.jsonl", report(*lines))
    server.on("GET", "/evaluation/7/tests", {"tests": [], "next": None})
    assert testring("watch", "7", "--server", server.url).exit_code == code


def test_pages_of_failures_are_followed(server, testring):
    server.on("GET", "/evaluation/7", evaluation("finished"))
    server.on("GET", "/evaluation/7/report.jsonl", report(LINES[0], LINES[0]))
    second = {**FAILURE, "nodeid": "test_b.py::test_second"}
    server.on("GET", "/evaluation/7/tests?state=failed&page=1", {"tests": [FAILURE], "next": "x"})
    server.on("GET", "/evaluation/7/tests?state=failed&page=2", {"tests": [second], "next": None})
    assert "test_second" in testring("watch", "7", "--server", server.url).stdout
