"""``python -m tests.chaos --seconds 300 --seed 1``: a cluster of real processes under fire.

Exits 0 if nothing was lost, wrong, doubled or unknown; else 1, and the logs are kept.
"""

from __future__ import annotations

import argparse
import signal
import sys
from random import SystemRandom
from statistics import median

from cli.errors import CommandError
from node.core.timing import PROFILES
from tests.chaos import schedule, suite
from tests.chaos.agent import Agent
from tests.chaos.book import Book
from tests.chaos.checks import Tally
from tests.chaos.clients import Submitter, Watcher, look_back
from tests.chaos.network import Loopback, Namespaces, Network, NetworkError
from tests.chaos.nodes import Fleet
from tests.support.waiting import until

CLIENTS = 2
ROLES = ("master", "backup", "worker")
JOIN_SECONDS = 60.0
ENOUGH_SECONDS = 60.0
"""A run so long must have killed a master, or it proves little."""


def main() -> int:
    """Run and report."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    network, why = _network(given.workers + 1, given.faults)
    able = {"cut": network.can_cut, "oneway": network.can_cut_oneway}
    kinds = [kind for kind in given.faults if able.get(kind, True)]
    print(f"chaos: seed {given.seed}, {given.seconds:g} s, {', '.join(kinds)}{why}", flush=True)
    book, tally = Book(suite.TOTAL), Tally()
    fleet = Fleet(network, workers=given.workers, profile=given.profile)
    agent = Agent(
        fleet,
        book,
        schedule.steps(given.seed, PROFILES[given.profile].suspect, kinds, not given.spare_masters),
        given.beyond,
    )
    failed = True
    try:
        fleet.start()
        _run(agent, tally, given)
        if (
            not given.spare_masters
            and not agent.done["kill master"]
            and given.seconds >= 60
            and "kill" in kinds
        ):
            book.violated("no master was killed: /health never said replicated with three voters at rest")
        book.violations += [
            f"{count} answers {status}"
            for status, count in sorted(book.refusals.items())
            if status >= 500 and status != 503
        ]
        book.violations += [f"{name} had to be killed at the end" for name in fleet.close(keep=True)]
        failed = bool(book.violations or tally.findings)
    except CommandError as error:
        print(f"chaos: {error}", file=sys.stderr)
    finally:
        fleet.close(keep=failed or given.keep)
    _report(agent, tally)
    for line in (*tally.findings, *book.violations):
        print(f"VIOLATION {line}")
    if failed or given.keep:
        print(f"logs, data and story.txt: {fleet.top}")
    if failed:
        print(f"again: make chaos SECONDS={given.seconds:g} SEED={given.seed}{_more(given)}")
    return 1 if failed else 0


def _run(agent: Agent, tally: Tally, given: argparse.Namespace) -> None:
    """Submit, watch and strike; then, in peace, wait for the last evaluation and look back."""
    book, url = agent.book, agent.fleet.url
    watcher = Watcher(book, url)
    submitters = [Submitter(book, url, tally, given.seed, number) for number in range(CLIENTS)]
    watcher.start()
    try:
        everybody = {node.address for node in agent.fleet.nodes}
        until(lambda: book.view.members >= everybody, JOIN_SECONDS, "every node in /network")
        for submitter in submitters:
            submitter.start()
        agent.run(given.seconds)
        for submitter in submitters:
            submitter.finish()
            submitter.join()
        look_back(book, url)
    finally:
        for submitter in submitters:
            submitter.finish()
        watcher.close()


def _report(agent: Agent, tally: Tally) -> None:
    book, done = agent.book, agent.done
    kills, stops, cuts = (_sum(agent, kind) for kind in schedule.KINDS)
    more = {kind: _sum(agent, kind) for kind in schedule.MORE}
    rows = [
        ("evaluations", f"{sum(one.over.is_set() for one in book.submissions)}"),
        ("verdicts checked", f"{tally.verdicts}"),
        ("kills", f"{kills} ({done['kill master']} of the master, {done['kill backup']} of backups)"),
        ("stops", f"{stops} ({done['stop master']} of the master)"),
        ("cuts", f"{cuts} ({done['cut master']} of the master)"),
        *(
            (name, f"{more[kind]} ({done[f'{kind} master']} of the master)")
            for kind, name in (("oneway", "one-way cuts"), ("disk", "lost disks"))
            if more[kind]
        ),
        *([("kills of the HTTP service", f"{more['api']}")] if more["api"] else []),
        ("steps left out", f"{done['skipped']}"),
        ("takeovers", f"{max(0, len(book.epochs) - 1)}"),
        ("tests re-run", f"{tally.rerun}"),
        ("verdicts lost", f"{tally.lost}"),
        ("verdicts wrong", f"{tally.wrong}"),
        ("verdicts doubled", f"{tally.doubled}"),
        ("counts that went back", f"{book.went_back}"),
        *(
            (f"kill of a {role} to next verdict", _spread(book, role))
            for role in ("master", "backup", "worker")
        ),
        ("answers 503, broken connections", f"{book.refusals[503]}, {book.refusals[0]}"),
        ("longest time without an answer", f"{book.availability.longest:.2f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:{width}}  {value}")


def _sum(agent: Agent, kind: str) -> int:
    return sum(count for name, count in agent.done.items() if name.startswith(f"{kind} "))


def _spread(book: Book, role: str) -> str:
    found = book.gaps.of(role)
    return f"median {median(found):.2f} s, worst {found[-1]:.2f} s of {len(found)}" if found else "none seen"


def _more(given: argparse.Namespace) -> str:
    """The settings that were not the usual ones, for ``make``."""
    words = [f"--faults {','.join(given.faults)}"] if given.faults != list(schedule.KINDS) else []
    words += [f"--profile {given.profile}"] if given.profile != "local" else []
    words += ["--beyond"] if given.beyond else []
    words += ["--spare-masters"] if given.spare_masters else []
    return f' ARGS="{" ".join(words)}"' if words else ""


def _network(nodes: int, faults: list[str]) -> tuple[Network, str]:
    if {"cut", "oneway"} & set(faults):
        try:
            return Namespaces(nodes), ""
        except NetworkError as error:
            return Loopback(nodes), f"; nobody is cut off: {error}"
    return Loopback(nodes), ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long faults go on (default 60)")
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(10**6), help="default: a new one"
    )
    parser.add_argument("--workers", type=int, default=4, help="nodes beside the founder (default 4)")
    parser.add_argument(
        "--faults",
        type=lambda text: [kind for kind in text.split(",") if kind],
        default=list(schedule.KINDS),
        help=f"of {','.join((*schedule.KINDS, *schedule.MORE))} (default {','.join(schedule.KINDS)}; "
        "empty: none, to compare with)",
    )
    parser.add_argument("--spare-masters", action="store_true", help="strike no voters")
    parser.add_argument("--beyond", action="store_true", help="let faults meet among the voters")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="local", help="timing (default local)")
    parser.add_argument("--keep", action="store_true", help="keep logs and data though all went well")
    given = parser.parse_args()
    unknown = set(given.faults) - {*schedule.KINDS, *schedule.MORE}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    if given.workers < 4:
        parser.error("at least 4 workers: three voters and two that work")
    return given


if __name__ == "__main__":
    sys.exit(main())
