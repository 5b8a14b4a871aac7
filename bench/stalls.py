"""How long the master keeps anybody waiting while a large package is taken in and handed on.

A 200 MB project is submitted over HTTP; meanwhile the master is asked for its health over its control
socket every 5 ms. The question goes through the node's one inbox, as heartbeats' and workers' words
do, so the slowest answer is the loop's lag at its worst, and the way there. ``python -m bench.stalls
SOCKET`` is who asks: a process of its own, so that the upload does not delay its clock.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from api.link import Link
from bench.rounds import markdown, median
from node import health
from proto.messages import GetHealth
from tests.chaos.http import Http
from tests.chaos.network import Loopback
from tests.chaos.nodes import ROOT, Fleet
from tests.support.waiting import until

MEGABYTES = 200
WORKERS = 2
PERIOD = 0.005
REST_SECONDS = 5.0
PATIENCE = 180.0
_ENDED = ("finished", "failed", "cancelled")


def table(rounds: int) -> str:
    """One row at rest, one while packages travel; ``rounds`` packages."""
    fleet = Fleet(Loopback(WORKERS + 1), workers=WORKERS, profile="local")
    try:
        fleet.start()
        rest, busy, seconds = _measured(fleet, rounds)
        lags = [
            health.ask(fleet.sockets / f"node-{node.id}.sock").loop_lag["largest_ms"] for node in fleet.nodes
        ]
    finally:
        fleet.close(keep=False)
    rows = [["at rest", *_row(rest)], [f"{rounds} packages, each {median(seconds)} s", *_row(busy)]]
    title = f"The master's answers while {MEGABYTES} MB go to {WORKERS} nodes, ms (aim: under 100)"
    said = ", ".join(f"{lag:.1f}" for lag in lags)
    return (
        markdown(title, ["when", "questions", "median", "99.9%", "slowest"], rows)
        + f"\nLargest lag of each loop since its node started, master first: {said} ms (aim: under 100).\n"
    )


def _measured(fleet: Fleet, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of the answers at rest and under way, and of each evaluation from upload to end."""
    http = Http(fleet.url, Counter())
    nodes = WORKERS + 1
    until(lambda: len(http.get("/network")) >= nodes, PATIENCE, f"{nodes} nodes in /network")
    until(lambda: http.get("/health")["durability"] == "replicated", PATIENCE, "a replicated log")
    busy: list[float] = []
    seconds: list[float] = []
    command = [sys.executable, "-m", "bench.stalls", str(fleet.sockets / "master.sock")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        time.sleep(REST_SECONDS)
        rest = _take(asker)
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as scratch:
                archive = _archive(Path(scratch) / "large.zip")
            _take(asker)
            started = time.monotonic()
            path = f"/evaluation/{http.submit(archive, f'stalls-{number}', {})}"
            until(lambda path=path: http.get(path)["state"] in _ENDED, PATIENCE, f"{path} over")
            seconds.append(time.monotonic() - started)
            busy += _take(asker)
    http.close()
    return rest, busy, seconds


def _take(asker: subprocess.Popen[str]) -> list[float]:
    """The waits since the last time."""
    assert asker.stdin is not None
    assert asker.stdout is not None
    asker.stdin.write("take\n")
    asker.stdin.flush()
    return list(json.loads(asker.stdout.readline()))


def _row(waits: Sequence[float]) -> list[str]:
    ordered = sorted(1000 * wait for wait in waits)
    picked = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.999)], ordered[-1])
    return [str(len(ordered)), *(f"{wait:.1f}" for wait in picked)]


def _archive(path: Path) -> bytes:
    """A project of one test and one file that cannot be compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr("large/test_one.py", "def test_one(): pass\n")
        zipped.writestr("large/data.bin", os.urandom(MEGABYTES * 1_000_000))
    return path.read_bytes()


def _ask_on(path: Path) -> None:
    """Ask until standard input closes; each line on it is answered with the waits so far."""
    link = Link.open(path, timeout=10.0)
    waits: list[float] = []
    due = time.monotonic()
    while True:
        due = max(due + PERIOD, time.monotonic())
        while select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            if not sys.stdin.readline():
                return
            print(json.dumps(waits), flush=True)
            waits.clear()
        asked = time.monotonic()
        link.ask(GetHealth(), asked + PATIENCE)
        waits.append(time.monotonic() - asked)


if __name__ == "__main__":
    _ask_on(Path(sys.argv[1]))
