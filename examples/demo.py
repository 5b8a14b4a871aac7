"""The main job, once: two projects, three workers, over HTTP, with the result checked.

Starts a cluster on this machine, uploads both projects in one zip, follows the evaluation, and prints
the failures, the grades and each node's share. Exits 0 if every verdict is the expected one: some
tests of these projects fail on purpose.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cli import packing, queries, summary
from cli.client import Client
from cli.embedded import Embedded
from cli.errors import CommandError
from cli.progress import follow
from cli.signals import Stopped, stop_signals

PROJECTS = Path(__file__).parent / "demo"
WORKERS = 3


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for the cluster's data and its runners' work copies, removed at the end."""
    top = Path(tempfile.mkdtemp(prefix="tr-"))
    # Test runners get uids of their own when we are root; they must reach their folders.
    top.chmod(0o711)
    try:
        yield top
    finally:
        shutil.rmtree(top, ignore_errors=True)


def differences(client: Client, evaluation: int) -> list[str]:
    """Where the verdicts differ from ``demo/expected.json``, one line each."""
    expected = json.loads((PROJECTS / "expected.json").read_text(encoding="utf-8"))
    got: dict[str, Counter[str]] = {}
    for line in client.verdicts(evaluation):
        got.setdefault(line["project"], Counter())[line["outcome"]] += 1
    return [
        f"{name}: expected {expected.get(name)}, got {dict(got.get(name, {}))}"
        for name in sorted({*expected, *got})
        if dict(got.get(name, {})) != expected.get(name)
    ]


def main() -> int:
    """Run the demo; 0 if everything was as expected."""
    console = Console()
    with stop_signals(), workplace() as top:
        console.print(f"starting a master, {WORKERS} workers and the HTTP service ...")
        with Embedded(top / "data", workers=WORKERS, run_dir=top / "r") as cluster:
            cluster.start()
            archive = top / "all_projects.zip"
            packing.pack(sorted(path for path in PROJECTS.iterdir() if path.is_dir()), archive)
            console.print(f'curl -X POST {cluster.url}/evaluation -F "file=@{archive.name}"', markup=False)
            with Client(cluster.url) as client:
                evaluation = int(client.submit_archive(archive, {})["id"])
                answer = follow(client, evaluation, console)
                summary.show(client, answer, console)
                console.print(queries.stats_table(client.get("/stats")))
                wrong = differences(client, evaluation)
    for line in wrong:
        console.print(f"not as expected: {line}", markup=False)
    if not wrong:
        console.print("Every verdict is the expected one (three tests fail on purpose).")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit(f"demo: {error}")
    except Stopped:
        sys.exit(2)
