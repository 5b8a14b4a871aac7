"""``python -m tests.real.corpus``: real projects, plain pytest against Testring, outcome per test.

Each project's source archive is submitted over HTTP to a cluster with three workers, twice (the second
time the environment is there already), and run by plain pytest in the environment that Testring built.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.signals import stop_signals
from tests.real import reference, sdists
from tests.real.compare import Finding, explain, shown, worse
from tests.support.cluster import Cluster, Result

WORKERS = 3
EVALUATION_SECONDS = 1200.0
PROJECTS = Path(__file__).with_name("projects.json")


@dataclass(frozen=True)
class Row:
    """One project's result. ``seconds`` are wall times: plain pytest, Testring cold and warm."""

    name: str
    tests: int
    finding: Finding
    serial: float
    cold: float
    warm: float
    remarks: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.finding.explained and not self.remarks


def projects(only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The listed projects, or those named.

    Raises:
        SystemExit: a name is not in the list.
    """
    listed = json.loads(PROJECTS.read_text(encoding="utf-8"))["projects"]
    unknown = set(only) - {project["name"] for project in listed}
    if unknown:
        raise SystemExit(f"not in {PROJECTS.name}: {', '.join(sorted(unknown))}")
    return [project for project in listed if not only or project["name"] in only]


def unlisted(requirement: str, requirements: Sequence[str], pytest_args: Sequence[str]) -> dict[str, Any]:
    """Any ``name`` or ``name==version`` of the registry, installed as it declares itself."""
    return {
        "name": requirement.partition("==")[0],
        "requirement": requirement,
        "sdist": f"{requirement.replace('==', '-')}.tar.gz",
        "install": list(requirements),
        "constraints": [],
        "pytest_args": list(pytest_args),
        "serial_flags": [],
    }


def options(project: dict[str, Any]) -> dict[str, Any]:
    """The submission's options: what the list says must be installed beside the project."""
    return {
        "requirements": [entry for entry in project["install"] if entry not in ("-e", ".")],
        "constraints": project["constraints"],
        "pytest_args": project["pytest_args"],
        "name": project["name"],
    }


def compare(cluster: Cluster, project: dict[str, Any], *, again: bool = True) -> Row:
    """Run one project both ways; ``again``: a second time on the cluster, its environment being there."""
    run_dir = cluster.top / "r"
    with tempfile.TemporaryDirectory() as scratch:
        tree = sdists.unpack(project["requirement"], project["sdist"], Path(scratch) / "sdist")
        before = reference.environments(run_dir)
        cold = _submitted(cluster, tree, project)
        made = sorted(reference.environments(run_dir) - before)
        if not made:
            raise RuntimeError(f"no environment was built: {cold.answer['projects'][0]}")
        warm = _submitted(cluster, tree, project) if again else cold
        built = usable(made, tree.name)
        plain = reference.serial(built, [*project["serial_flags"], *project["pytest_args"]])
        findings = [
            explain(result, plain, built, project["pytest_args"], project["serial_flags"])
            for result in (cold, warm)
        ]
    return Row(
        name=project["name"],
        tests=len(plain.outcomes),
        finding=worse(*findings),
        serial=plain.seconds,
        cold=cold.answer["seconds"],
        warm=warm.answer["seconds"],
        remarks=tuple(_remarks(project, plain, cold, warm)),
    )


def _submitted(cluster: Cluster, tree: Path, project: dict[str, Any]) -> Result:
    return cluster.wait(cluster.submit(tree, **options(project)), EVALUATION_SECONDS)


def usable(places: Sequence[Path], name: str) -> reference.Built:
    """The own environment of the project ``name``; a base environment has no tree."""
    built = next(reference.Built.load(place) for place in places if (place / "tree").is_dir())
    return replace(built, name=name)


def _remarks(project: dict[str, Any], plain: reference.Reference, cold: Result, warm: Result) -> list[str]:
    """What is wrong beside single outcomes."""
    remarks = []
    if not plain.outcomes:
        remarks.append(f"plain pytest ran nothing (exit code {plain.exit_code}): {plain.tail[-500:]}")
    for name, result in (("cold", cold), ("warm", warm)):
        if result.answer["state"] != "finished":
            remarks.append(f"{name}: {result.answer['state']}: {result.notes}")
        if result.answer["tests"]["total"] != len(result.lines):
            remarks.append(f"{name}: planned {result.answer['tests']['total']}, reported {len(result.lines)}")
    return remarks


def table(rows: Sequence[Row]) -> Table:
    """One row per project."""
    made = Table("project", "tests", "equal?", "serial s", "Testring s, first", "Testring s, again")
    for row in rows:
        made.add_row(
            row.name,
            str(row.tests),
            row.finding.word if not row.remarks else "NO",
            f"{row.serial:.1f}",
            f"{row.cold:.1f}",
            f"{row.warm:.1f}",
        )
    return made


def _compared(
    chosen: Sequence[dict[str, Any]], workers: int, again: bool, console: Console
) -> tuple[list[Row], list[str]]:
    """(rows, names of the projects that could not be compared)."""
    rows: list[Row] = []
    broken: list[str] = []
    cluster = Cluster(workers)
    try:
        for project in chosen:
            console.print(f"{project['requirement']} ...", markup=False)
            try:
                row = compare(cluster, project, again=again)
            except Exception as error:  # noqa: BLE001 (the other projects are still worth comparing)
                broken.append(project["name"])
                console.print(f"{project['name']}: {error}\n{traceback.format_exc()}", markup=False)
                continue
            rows.append(row)
            console.print(f"  {row.tests} tests, equal: {row.finding.word}", markup=False)
            for line in (*shown(row.finding), *row.remarks):
                console.print(line, markup=False)
    finally:
        cluster.close()
    return rows, broken


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the projects; 0 if all are equal, or differ for reasons that are the suite's own."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.corpus", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="this project; repeatable"
    )
    parser.add_argument(
        "--sdist",
        action="append",
        default=[],
        metavar="NAME==VERSION",
        help="a project not listed; repeatable",
    )
    parser.add_argument(
        "--require", action="append", default=[], metavar="REQUIREMENT", help="installed beside --sdist's"
    )
    parser.add_argument(
        "--once", action="store_true", help="only the first run, which builds the environment"
    )
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("pytest_args", nargs="*", help="arguments of --sdist's suites, after --")
    given = parser.parse_args(arguments)
    console = Console(soft_wrap=True)
    chosen = [unlisted(one, given.require, given.pytest_args) for one in given.sdist]
    if given.only or not chosen:
        chosen += projects(given.only)
    with stop_signals():
        rows, broken = _compared(chosen, given.workers, not given.once, console)
    console.print(table(rows))
    bad = [row.name for row in rows if not row.good] + broken
    if bad:
        console.print(f"not equal: {', '.join(bad)}", markup=False)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
