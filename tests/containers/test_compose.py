"""Images, start, the two curl lines, sources of every kind, and what tests can reach in a container."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from cli import packing
from tests.containers import suites
from tests.containers.engine import PROJECT, ROOT, Stack, docker, execute, inspect, run
from tests.containers.gitserver import TOKEN
from tests.containers.table import within
from tests.real import corpus, sdists
from tests.real.compare import differences
from tests.support.waiting import until

CURL_ZIP = 'curl -X POST http://localhost:8080/evaluation -F "file=@all_projects.zip"'
CURL_GIT = (
    'curl -X POST http://localhost:8080/evaluation -H "Content-Type: application/json" '
    """-d '{"auth_token": "t", "projects": ["https://github.com/user/repo"]}'"""
)
DEMO = ROOT / "examples" / "demo"


def curl(stack: Stack, line: str, folder: Path) -> int:
    """Run a line of the README as it stands (but for the port, if 8080 is taken); the evaluation's id."""
    words = shlex.split(line.replace(":8080/", f":{stack.port}/").replace("@", f"@{folder}/"))
    return int(json.loads(run([words[0], "-sS", *words[1:]]))["id"])


def image(name: str) -> dict[str, Any]:
    """What the engine knows of an image."""
    return dict(json.loads(docker("image", "inspect", name))[0])


def condition(container: str) -> str:
    """What the health check of a container says."""
    return str(inspect(container)["State"]["Health"]["Status"])


@within(280, "build the images")
def test_build(stack: Stack) -> str:
    stack.compose("build", "--quiet")
    sizes = {name: image(name)["Size"] for name in ("testring-node", "testring-api")}
    base = image(f"python:{stack.environ.get('PYTHON_VERSION', '3.13')}-slim")["Size"]
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in {**sizes, "base": base}.items())


@within(90, "up with 3 workers")
def test_up(stack: Stack) -> str:
    said = stack.script("--workers", "3", "--no-build")
    assert f"curl -X POST http://localhost:{stack.port}/evaluation" in said
    stack.wait_nodes(4)
    assert (ROOT / "compose/secrets/cluster").stat().st_mode & 0o777 == 0o600
    return next(line for line in said.splitlines() if line.startswith("healthy after"))


@within(60, "health checks of the engine pass")
def test_healthy(three: Stack) -> str:
    containers = [name for service in ("master", "worker", "api") for name in three.containers(service)]
    assert len(containers) == 5
    until(lambda: set(map(condition, containers)) == {"healthy"}, 50, "all healthy")
    return f"{len(containers)} containers"


@within(90, "first curl line: an upload of two projects")
def test_curl_upload(three: Stack, tmp_path: Path) -> str:
    packing.pack(sorted(path for path in DEMO.iterdir() if path.is_dir()), tmp_path / "all_projects.zip")
    result = three.wait(curl(three, CURL_ZIP, tmp_path))
    found: dict[str, Counter[str]] = {}
    for line in result.lines:
        found.setdefault(line["project"], Counter())[line["outcome"]] += 1
    assert {name: dict(counts) for name, counts in found.items()} == json.loads(
        (DEMO / "expected.json").read_text(encoding="utf-8")
    )
    return f"{len(result.lines)} verdicts in {result.answer['seconds']} s"


@within(90, "second curl line: a repository that is not there")
def test_curl_projects(three: Stack, tmp_path: Path) -> str:
    result = three.wait(curl(three, CURL_GIT, tmp_path), 80)
    assert result.answer["state"] == "failed"
    assert result.notes
    return result.notes.splitlines()[0][:70]


@within(60, "clone from a git server, with and without token")
def test_clone(three: Stack) -> str:
    urls = ["https://git:8443/course/private.git", "https://git:8443/course/open.git"]
    answer = three.client.submit_projects(urls, TOKEN, {})
    result = three.wait(int(answer["id"]))
    assert result.counts == {"passed": 4}, result.notes
    refused = three.wait(int(three.client.submit_projects(urls[:1], "", {})["id"]))
    assert refused.answer["state"] == "failed"
    said = three.compose("logs", "master", "worker", "api") + json.dumps(result.answer)
    assert TOKEN not in said
    return "token in no log and no answer"


@within(180, "a corpus project equals plain pytest")
def test_corpus(three: Stack) -> str:
    (project,) = corpus.projects(["itsdangerous"])
    with tempfile.TemporaryDirectory() as scratch:
        tree = sdists.unpack(project["requirement"], project["sdist"], Path(scratch) / "sdist")
        packing.pack([tree], Path(scratch) / "project.zip")
        evaluation = three.submit(Path(scratch) / "project.zip", **corpus.options(project))
    result = three.wait(evaluation, 150)
    plain = json.loads(
        docker(
            *(
                "run",
                "--rm",
                "--volume",
                f"{PROJECT}_cache:/var/lib/testring",
                "--volume",
                f"{ROOT}:/repository:ro",
            ),
            *("--env", "PYTHONPATH=/repository", "--entrypoint", "python", "testring-node"),
            *("-m", "tests.containers.plain", "src/itsdangerous", *project["serial_flags"]),
        )
    )
    expected = {(nodeid, occurrence): outcome for nodeid, occurrence, outcome in plain}
    assert len(expected) == project["results"]
    assert [str(entry) for entry in differences(expected, result.outcomes)] == []
    return f"{len(expected)} tests, {len(result.workers)} workers, {result.answer['seconds']} s"


@within(90, "tests reach nothing of the node")
def test_isolation(three: Stack, tmp_path: Path) -> str:
    api = inspect(three.container("api"))["NetworkSettings"]["Networks"][f"{PROJECT}_front"]["IPAddress"]
    result = three.wait(three.submit(suites.probe(tmp_path, api, three.container("master"))))
    wrong = [f"{test['nodeid']}: {test['traceback'][-400:]}" for test in result.tests("failed")]
    assert wrong == []
    assert set(result.counts) == {"passed"}
    return f"{len(result.lines)} tries"


@within(30, "capabilities are those of the file")
def test_capabilities(three: Stack) -> str:
    def effective(container: str) -> int:
        status = execute(container, "cat", "/proc/self/status")
        assert "NoNewPrivs:\t1" in status
        return int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)

    names = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}
    wanted = sum(1 << number for number in names.values())
    assert {effective(name) for name in (*three.containers("master"), *three.containers("worker"))} == {
        wanted
    }
    assert effective(three.container("api")) == 0
    assert execute(three.container("api"), "id", "-u") == "10001"
    for name in (three.container("master"), three.container("api")):
        host = inspect(name)["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["Memory"]
        assert host["PidsLimit"]
    return "nodes: " + " ".join(sorted(names)) + "; service: uid 10001, none"
