"""``status cancel network stats report drain`` against a scripted server."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from cli import errors


def test_status_of_one_shows_the_grades(server, testring, finished):
    server.on("GET", "/evaluation/7", finished)
    result = testring("status", "7", "--server", server.url)
    assert result.exit_code == errors.OK
    assert "ring[x]" in result.stdout
    assert "13.33" in result.stdout
    assert "3 of 3 tests executed" in result.stdout


def test_status_without_an_id_lists_all(server, testring):
    server.on(
        "GET", "/evaluation", {"evaluations": [{"id": 7, "state": "queued", "name": "n"}], "next": None}
    )
    result = testring("status", "--server", server.url)
    assert result.exit_code == errors.OK
    assert "queued" in result.stdout


def test_json_is_passed_on(server, testring):
    answer = {"127.0.0.1:7000": ["127.0.0.1:7001"], "127.0.0.1:7001": ["127.0.0.1:7000"]}
    server.on("GET", "/network", answer)
    assert json.loads(testring("network", "--json", "--server", server.url).stdout) == answer
    assert "127.0.0.1:7001" in testring("network", "--server", server.url).stdout


def test_stats(server, testring):
    node = {
        "address": "127.0.0.1:7000",
        "failed": 2,
        "passed": 10,
        "projects": 1,
        "modules": 4,
        "evaluations": [7],
    }
    answer = {"all": {"failed": 2, "passed": 30, "projects": 2, "evaluations": 3}, "nodes": [node]}
    server.on("GET", "/stats", answer)
    result = testring("stats", "--server", server.url)
    assert "127.0.0.1:7000" in result.stdout
    assert "30" in result.stdout
    assert json.loads(testring("stats", "--json", "--server", server.url).stdout) == answer


def test_cancel(server, testring):
    server.on("DELETE", "/evaluation/7", {"id": 7, "state": "cancelled"})
    assert "cancelled" in testring("cancel", "7", "--server", server.url).stdout


def test_report_goes_to_a_file_or_stdout(server, testring, tmp_path: Path):
    server.on("GET", "/evaluation/7/report.xml", b"<testsuites/>")
    assert testring("report", "7", "--server", server.url).stdout == "<testsuites/>"
    path = tmp_path / "junit.xml"
    assert testring("report", "7", "-o", str(path), "--server", server.url).exit_code == errors.OK
    assert path.read_bytes() == b"<testsuites/>"
    nowhere = testring("report", "7", "-o", str(tmp_path / "no" / "x"), "--server", server.url)
    assert nowhere.exit_code == errors.INTERNAL
    assert "cannot be written" in nowhere.stderr


def test_drain_names_the_node(server, testring):
    server.on("POST", "/network/127.0.0.1:7001/drain", {"draining": True}, status=202)
    assert testring("drain", "127.0.0.1:7001", "--server", server.url).exit_code == errors.OK
    assert testring("drain", "a/b", "--server", server.url).exit_code == errors.USAGE


def test_an_unknown_id_is_one_line(server, testring):
    result = testring("status", "8", "--server", server.url)
    assert result.exit_code == errors.USAGE
    assert result.stderr == "testring: 404: there is no /evaluation/8\n"


def test_a_server_that_is_not_there_is_one_line(testring):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    result = testring("status", "--server", url)
    assert result.exit_code == errors.INTERNAL
    assert result.stderr.count("\n") == 1
    assert "does not answer" in result.stderr


def test_503_is_tried_again(server, testring, finished):
    busy = (503, {"title": "No master"}, {"Retry-After": "0"})
    server.on("GET", "/evaluation/7", busy, busy, (200, finished, {}))
    assert testring("status", "7", "--server", server.url).exit_code == errors.OK
    assert len(server.asked) == 3


def test_a_stranger_that_speaks_http(server, testring):
    server.on("GET", "/network", b"<html>hello</html>")
    result = testring("network", "--server", server.url)
    assert result.exit_code == errors.INTERNAL
    assert "is it a Testring server?" in result.stderr


def test_the_api_token_is_sent_and_not_shown(server, testring, monkeypatch):
    monkeypatch.setenv("TESTRING_API_TOKEN", "sesame-123")
    result = testring("status", "7", "--server", server.url)
    assert server.asked[0].headers["Authorization"] == "Bearer sesame-123"
    assert "sesame-123" not in result.output


def test_bad_usage_is_exit_code_4(testring):
    assert testring("status", "seven").exit_code == errors.USAGE
    assert testring("nonsense").exit_code == errors.USAGE
    assert testring("--help").exit_code == errors.OK
