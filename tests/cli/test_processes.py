"""``up`` and ``run`` with real nodes: what a person at a terminal sees."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from cli import errors
from tests.support.waiting import until

pytestmark = pytest.mark.process

START_SECONDS = 60.0
STOP_SECONDS = 45.0
RUN_SECONDS = 180.0
LAST_LINE = "Ctrl-C stops everything.\n"


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "cli.main", *words]


def run(*words: str, cwd: Path, tmp: str = "/tmp") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env={**os.environ, "TMPDIR": tmp},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


@contextmanager
def up(data: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running ``testring up`` on free ports, and its URL."""
    arguments = ["up", "--port", "0", "--listen", "127.0.0.1:0", "--data", str(data), *words]
    with subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            welcome = "".join(iter(process.stdout.readline, LAST_LINE))
            match = re.search(r"curl -X POST (http://127\.0\.0\.1:\d+)/evaluation -F", welcome)
            assert match, (welcome, process.stderr.read() if process.stderr else "")
            yield process, match[1]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=STOP_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_all(tmp_path, number):
    with up(tmp_path / "data", "--workers", "2") as (process, url):
        assert requests.get(f"{url}/health", timeout=10).ok
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4, "master, two workers, the HTTP service"
        process.send_signal(number)
        out, err = process.communicate(timeout=STOP_SECONDS)
    assert (process.returncode, out, err) == (errors.OK, "stopped\n", "")
    _, left = psutil.wait_procs(children, timeout=5)
    assert left == []


def test_a_killed_parent_takes_its_children_along(tmp_path):
    with up(tmp_path / "data", "--workers", "1") as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, left = psutil.wait_procs(children, timeout=STOP_SECONDS)
        assert left == []


def test_a_child_that_dies_is_told_in_one_line(tmp_path):
    with up(tmp_path / "data", "--workers", "1") as (process, url):
        (worker,) = [child for child in psutil.Process(process.pid).children() if "--join" in child.cmdline()]
        worker.kill()
        assert process.stderr is not None
        assert process.stderr.readline().startswith("testring: worker 1 ended (killed by SIGKILL)")
        until(lambda: len(requests.get(f"{url}/network", timeout=10).json()) == 1, 15, "worker gone")
        assert process.poll() is None, "the others go on"


def test_a_busy_port_is_one_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(
            "up", "--port", port, "--listen", "127.0.0.1:0", "--data", str(tmp_path / "d"), cwd=tmp_path
        )
    assert done.returncode == errors.INTERNAL
    assert done.stderr == (
        f"testring: 127.0.0.1:{port}: the HTTP service's port (choose another with --port) is in use\n"
    )


def test_a_data_folder_that_cannot_be_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("up", "--port", "0", "--listen", "127.0.0.1:0", "--data", "file/x", cwd=tmp_path)
    assert done.returncode == errors.INTERNAL
    assert "give another folder with --data" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_survive_a_restart_of_every_node(tmp_path, project):
    tree = project({"test_a.py": "def test_a(): pass\n"})
    with up(tmp_path / "data", "--workers", "1") as (_, url):
        assert run("run", str(tree), "--server", url, cwd=tmp_path).returncode == errors.OK
        before = requests.get(f"{url}/evaluation/1", timeout=10).json()
    with up(tmp_path / "data", "--workers", "1") as (_, url):
        assert requests.get(f"{url}/evaluation/1", timeout=10).json() == before


def test_run_starts_a_cluster_and_leaves_nothing(tmp_path, project):
    # Folders called as ours are not to be imported instead of ours.
    files = {
        "test_ok.py": "def test_ok(): pass\n",
        "test_bad.py": "def test_bad():\n    value = 41\n    assert value == 42\n",
        "node/__init__.py": "raise SystemExit('not this one')\n",
        "api/__init__.py": "raise SystemExit('not this one')\n",
    }
    tree = project(files)
    # A short path: sockets are made below it. Of its own: other clusters may run beside this test.
    with tempfile.TemporaryDirectory(prefix="tr", dir="/tmp") as tmp:
        # As root each run has a user of its own, which must reach its folders.
        Path(tmp).chmod(0o711)
        junit = str(tmp_path / "junit.xml")
        done = run("run", ".", "--workers", "2", "--junit-xml", junit, cwd=tree, tmp=tmp)
        assert not list(Path(tmp).glob("tr-*"))
    assert done.returncode == errors.TESTS_FAILED, done.stdout + done.stderr
    assert "assert 41 == 42" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "test_bad" in (tmp_path / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("files", "words", "code"),
    [
        ({"test_a.py": "def test_a(): pass\n"}, [], errors.OK),
        ({"test_a.py": "def test_a(): pass\n"}, ["--", "-k", "nothing"], errors.NO_TESTS),
        ({"readme.txt": "no tests\n"}, [], errors.NO_TESTS),
    ],
)
def test_exit_codes_are_pytests(cluster, project, tmp_path, files, words, code):
    done = run("run", str(project(files)), "--server", cluster.url, *words, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def test_interrupting_a_run_cancels_it(cluster, project, tmp_path):
    tree = project({"test_a.py": "import threading\ndef test_a(): threading.Event().wait(600)\n"})
    newest = max((row["id"] for row in cluster.client.get("/evaluation")["evaluations"]), default=0)
    with subprocess.Popen(
        command("run", str(tree), "--server", cluster.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def running() -> int | None:
            rows = cluster.client.get("/evaluation")["evaluations"]
            new = [row["id"] for row in rows if row["id"] > newest]
            if not new or cluster.evaluation(new[0])["tests"]["total"] == 0:
                return None
            return int(new[0])

        evaluation = until(running, START_SECONDS, "the test planned")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == errors.INTERRUPTED
    assert "Traceback" not in err
    assert cluster.wait(evaluation, 30.0).answer["state"] == "cancelled"
