"""Whatever a client gets wrong is one clear line, and the next submission works as if nothing had been."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import requests

from tests.support.cluster import Cluster

pytestmark = pytest.mark.process

SECONDS = 60.0


def post(cluster: Cluster, data: bytes, **options: object) -> requests.Response:
    return requests.post(
        f"{cluster.url}/evaluation",
        files={"file": ("projects.zip", data)},
        data={"options": json.dumps(options)},
        timeout=SECONDS,
    )


def zipped(path: Path, files: dict[str, str]) -> bytes:
    with zipfile.ZipFile(path / "made.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return (path / "made.zip").read_bytes()


def problem(response: requests.Response, status: int) -> str:
    """The detail of a problem: one line, of the right status and type."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"].startswith("application/problem+json")
    body = response.json()
    assert body["status"] == status
    assert body["title"]
    assert "\n" not in body["detail"]
    return str(body["detail"])


@pytest.fixture(autouse=True)
def _still_works(cluster, project):
    """After each of these, a good submission is evaluated."""
    yield
    result = cluster.run(project({"test_after.py": "def test_after(): pass\n"}, name="after"))
    assert result.counts == {"passed": 1}


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), b"this is no zip", b"PK\x03\x04 cut off"])
def test_an_empty_or_corrupt_zip(cluster, data):
    problem(post(cluster, data), 400)


def test_a_damaged_entry_is_named(cluster, tmp_path):
    data = bytearray(zipped(tmp_path, {"p/test_a.py": "def test_a(): pass  # some text\n"}))
    at = data.index(b"# some text")
    data[at] ^= 0xFF
    assert "test_a.py" in problem(post(cluster, bytes(data)), 400) + post(cluster, bytes(data)).text


@pytest.mark.parametrize("name", ["../escape.py", "/etc/cron.d/x", "a/../../b.py"])
def test_an_entry_that_leaves_the_archive_is_named(cluster, tmp_path, name):
    response = post(cluster, zipped(tmp_path, {"p/test_a.py": "", name: "x"}))
    problem(response, 400)
    assert name in response.text


def test_a_zip_without_tests_ends_with_a_note(cluster, project):
    result = cluster.run(project({"readme.txt": "no tests here\n"}))
    assert result.answer["state"] == "finished"
    assert result.answer["tests"]["total"] == 0
    assert "no tests" in result.notes.lower()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"no_such_option": 1}, "no_such_option"),
        ({"slots": "many"}, "slots"),
        ({"collection": "some"}, "collection"),
    ],
)
def test_a_bad_option_is_named(cluster, tmp_path, options, field):
    assert field in problem(post(cluster, zipped(tmp_path, {"test_a.py": ""}), **options), 422)


@pytest.mark.parametrize(
    "url", ["https://example.invalid/user/repo", "file:///etc", "ext::sh -c id", "https://github.com/../../x"]
)
def test_an_url_that_may_not_be_cloned(cluster, url):
    response = requests.post(f"{cluster.url}/evaluation", json={"projects": [url]}, timeout=SECONDS)
    problem(response, 422)


def test_a_broken_pyproject_is_one_error_with_its_log(cluster, project):
    tree = project({"pyproject.toml": "[project\nname = 'x'\n", "test_a.py": "def test_a(): pass\n"})
    result = cluster.wait(cluster.submit(tree))
    assert "pyproject" in result.notes.lower() + json.dumps(result.lines).lower()
    assert set(result.counts) <= {"error"}
    assert result.answer["grade"] == 0.0


def test_an_unbuildable_dependency_is_one_error_with_its_log(cluster, project):
    tree = project(
        {"requirements.txt": "no-such-package-as-this-one==99\n", "test_a.py": "def test_a(): pass\n"}
    )
    result = cluster.wait(cluster.submit(tree))
    assert "no-such-package-as-this-one" in json.dumps(result.answer) + json.dumps(result.lines)
    assert set(result.counts) <= {"error"}
    assert result.answer["projects"][0]["grade"] == 0.0
