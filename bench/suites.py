"""Wall time of real suites: Testring with two slots, plain pytest, pytest-xdist with two processes.

All three run in the environment that Testring built; Testring's time is from the request over HTTP to
the final answer, its work copies, audit and confirmations included.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.rounds import interleaved, markdown, median, ratio
from cli import packing
from tests.real import corpus, reference, sdists
from tests.support.cluster import Cluster

PROJECTS = ("boltons", "click", "waitress", "lark")
SLOTS = 2


def table(rounds: int, names: Sequence[str] = PROJECTS) -> str:
    """One row per project, medians over ``rounds``."""
    cluster = Cluster(SLOTS)
    try:
        rows = [_row(cluster, project, rounds) for project in corpus.projects(names)]
    finally:
        cluster.close()
    header = ["project", "tests", "pytest s", "xdist -n 2 s", "Testring, 2 slots, s", "Testring / pytest"]
    return markdown("Suites", [*header, "Testring / xdist"], rows)


def _row(cluster: Cluster, project: dict[str, Any], rounds: int) -> list[str]:
    arguments, options = project["pytest_args"], corpus.options(project)
    with tempfile.TemporaryDirectory() as scratch:
        tree = sdists.unpack(project["requirement"], project["sdist"], Path(scratch) / "sdist")
        archive = Path(scratch) / f"{project['name']}.zip"
        packing.pack([tree], archive)
        before = reference.environments(cluster.top / "r")
        tests = len(cluster.wait(cluster.submit(archive, **options)).lines)
        built = corpus.usable(sorted(reference.environments(cluster.top / "r") - before), tree.name)
        ways: dict[str, Callable[[], float]] = {
            "pytest": lambda: reference.serial(built, [*project["serial_flags"], *arguments]).seconds,
            "xdist": lambda: reference.serial(built, ["-n", str(SLOTS), *arguments]).seconds,
            "testring": lambda: _testring(cluster, archive, options),
        }
        found = interleaved(ways, rounds)
    return [
        project["requirement"],
        str(tests),
        *(median(found[name]) for name in ("pytest", "xdist", "testring")),
        ratio(found["testring"], found["pytest"]),
        ratio(found["testring"], found["xdist"]),
    ]


def _testring(cluster: Cluster, archive: Path, options: dict[str, Any]) -> float:
    started = time.monotonic()
    evaluation = cluster.submit(archive, **options)
    cluster.wait(evaluation)
    return time.monotonic() - started
