"""What replication costs a real suite: the same submissions to a cluster without backups and to one with.

Both have a master and two workers of one slot; with ``replicas`` 1 all three are voters. Testring's
environment is built before the clock runs; the time is from the request over HTTP to the final answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rounds import interleaved, markdown, median, ratio
from cli import packing
from tests.real import corpus, sdists
from tests.support.cluster import Cluster
from tests.support.waiting import until

PROJECTS = ("click", "pyyaml")
"""An ordinary one, and one of many short tests."""
WORKERS = 2
REPLICAS = (0, 1)
SETTLE_SECONDS = 60.0


def table(rounds: int, names: Sequence[str] = PROJECTS) -> str:
    """One row per project, medians over ``rounds``."""
    clusters: dict[str, Cluster] = {}
    try:
        for replicas in REPLICAS:
            environment = {"TESTRING_REPLICAS": str(replicas)}
            clusters[str(replicas)] = cluster = Cluster(WORKERS, environment=environment)
            voters = 2 * replicas + 1
            until(
                lambda cluster=cluster, voters=voters: len(cluster.client.get("/health")["voters"]) == voters,
                SETTLE_SECONDS,
                f"{voters} voters",
            )
        rows = [_row(clusters, project, rounds) for project in corpus.projects(names)]
    finally:
        for cluster in clusters.values():
            cluster.close()
    header = ["project", "tests", "replicas 0, s", "replicas 1, s", "1 / 0"]
    return markdown("Real suites and replicas (aim: within 1.15)", header, rows)


def _row(clusters: Mapping[str, Cluster], project: dict[str, Any], rounds: int) -> list[str]:
    options = corpus.options(project)
    with tempfile.TemporaryDirectory() as scratch:
        tree = sdists.unpack(project["requirement"], project["sdist"], Path(scratch) / "sdist")
        archive = Path(scratch) / f"{project['name']}.zip"
        packing.pack([tree], archive)
        tests = {len(_run(cluster, archive, options).lines) for cluster in clusters.values()}
        assert len(tests) == 1, f"{project['name']}: other verdicts with backups than without: {tests}"
        ways = {name: _way(cluster, archive, options) for name, cluster in clusters.items()}
        found = interleaved(ways, rounds)
    return [
        project["requirement"],
        f"{tests.pop():,}",
        *(median(found[str(replicas)]) for replicas in REPLICAS),
        ratio(found["1"], found["0"]),
    ]


def _way(cluster: Cluster, archive: Path, options: dict[str, Any]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.monotonic()
        _run(cluster, archive, options)
        return time.monotonic() - started

    return seconds


def _run(cluster: Cluster, archive: Path, options: dict[str, Any]) -> Any:
    return cluster.wait(cluster.submit(archive, **options), corpus.EVALUATION_SECONDS)
