"""Projects to submit, with the verdicts they must get."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

Outcomes = dict[tuple[str, int], str]

MODULES = 24

SLOW = """
import threading

def test_first(): threading.Event().wait({seconds})
def test_second(): threading.Event().wait({seconds})
"""
ODD = """
import pytest

def test_wrong(): assert 1 == 2
@pytest.mark.skip(reason="not today")
def test_left_out(): pass
@pytest.mark.xfail
def test_known(): raise ValueError
"""

PROBE = """
import os
import socket

import pytest

API = {api!r}
MASTER = {master!r}


def test_a_throw_away_user_without_any_capability():
    assert os.getuid() >= 20000
    assert os.getuid() == os.geteuid() == os.getgid()
    assert os.getgroups() == []
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    assert [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/testring/secrets/cluster", "/etc/testring", "/run/testring", "/test_results",
        "/proc/1/environ", "/proc/1/mem", "/etc/shadow", "/var/lib/testring",
    ],
)
def test_not_readable(path):
    with pytest.raises(PermissionError):
        os.listdir(path) if os.path.isdir(path) else open(path, "rb")


@pytest.mark.parametrize("path", ["/run/testring/master.sock", "/run/testring/node-x.sock"])
def test_control_socket(path):
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(PermissionError):
        sock.connect(path)


def test_kill():
    with pytest.raises(PermissionError):
        os.kill(1, 9)


@pytest.mark.parametrize("path", ["/x", "/usr/x", "/opt/testring/x", "/etc/x"])
def test_read_only(path):
    with pytest.raises(OSError):
        open(path, "w")


def test_no_set_id_programs():
    assert not [p for p in os.popen("find / -xdev -perm /6000 -type f 2>/dev/null").read().split()]


def test_the_service_is_on_another_network():
    with pytest.raises(OSError):
        socket.create_connection((API, 8080), timeout=2)


def test_loopback_works(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_programs_run_from_the_temporary_folder(tmp_path):
    script = tmp_path / "s"
    script.write_text("#!/bin/sh\\nexit 7\\n")
    script.chmod(0o755)
    assert os.waitstatus_to_exitcode(os.system(str(script))) == 7
"""


def archive(path: Path, files: dict[str, str]) -> Path:
    """A zip of these files."""
    with zipfile.ZipFile(path, "w") as made:
        for name, text in files.items():
            made.writestr(name, textwrap.dedent(text))
    return path


def slow(folder: Path, seconds: float = 0.3) -> tuple[Path, Outcomes]:
    """24 modules of two tests of ``seconds`` each, and one of odd ends: long enough to be disturbed."""
    files = {f"tests/test_m{n:02}.py": SLOW.format(seconds=seconds) for n in range(MODULES)}
    outcomes = {(f"{name}::test_{which}", 0): "passed" for name in files for which in ("first", "second")}
    files["tests/test_odd.py"] = ODD
    for name, outcome in (("wrong", "failed"), ("left_out", "skipped"), ("known", "xfailed")):
        outcomes[(f"tests/test_odd.py::test_{name}", 0)] = outcome
    return archive(folder / "slow.zip", files), outcomes


def probe(folder: Path, api: str, master: str) -> Path:
    """Tests that try what a test must not be able to do in a node's container."""
    return archive(folder / "probe.zip", {"test_probe.py": PROBE.format(api=api, master=master)})
