"""From ``kill -9`` to the next accepted verdict: of the master with three voters, and of a worker.

A suite of short sleeps keeps every slot busy. The watcher asks 20 times a second over HTTP, as a
client would; what it sees first after a kill only sets the mark, growth after it ends the wait. So a
figure holds the election, the workers' return, the API's search for the master, and up to two rounds.
"""

from __future__ import annotations

import io
import statistics
import time
import zipfile

from bench.rounds import markdown
from tests.chaos.book import Book
from tests.chaos.clients import Watcher
from tests.chaos.http import Http
from tests.chaos.network import Loopback
from tests.chaos.nodes import Fleet
from tests.support.waiting import until

TAKEOVERS = 20
WORKERS = 4
VOTERS = 3
MODULES, TESTS, SECONDS = 60, 40, 0.05
LEFT = 600
"""Tests without a verdict there must be at each kill, so that all slots are busy after it."""
PATIENCE = 60.0


def table(rounds: int) -> str:
    """One row per kind of node; ``rounds`` does not matter here."""
    del rounds
    fleet = Fleet(Loopback(WORKERS + 1), workers=WORKERS, profile="local")
    book = Book(MODULES * TESTS)
    try:
        fleet.start()
        scene = _Scene(fleet, book)
        try:
            for kind in ("worker", "master"):
                for _ in range(TAKEOVERS):
                    scene.kill(kind)
        finally:
            scene.close()
    finally:
        fleet.close(keep=False)
    rows = []
    for kind, aim in (("master", "median under 2 s, worst under 5 s"), ("worker", "under 1 s")):
        found = book.gaps.of(kind)
        rows.append([kind, str(len(found)), f"{statistics.median(found):.2f}", f"{found[-1]:.2f}", aim])
    title = "kill -9 to the next accepted verdict, profile local, three voters, seconds"
    return markdown(title, ["killed", "times", "median", "worst", "aim"], rows)


class _Scene:
    """A cluster that always has something to run."""

    def __init__(self, fleet: Fleet, book: Book) -> None:
        self._fleet = fleet
        self._book = book
        self._http = Http(fleet.url, book.refusals)
        self._watcher = Watcher(book, fleet.url)
        self._watcher.start()
        self._settled = 0.0

    def kill(self, kind: str) -> None:
        """One kill at a quiet moment, the wait for the next verdict, and the node's return."""
        until(self._at_rest, PATIENCE, "three voters, every node in /network, and work to do")
        view = self._book.view
        if kind == "master":
            node = next(one for one in self._fleet.nodes if one.address == view.master)
        else:
            node = next(one for one in self._fleet.nodes if one.address not in view.voters)
        seen = len(self._book.gaps.of(kind))
        self._book.killed(self._fleet.kill(node), kind)
        until(lambda: len(self._book.gaps.of(kind)) > seen, PATIENCE, f"a verdict after the {kind}'s death")
        self._fleet.start_node(node)
        until(lambda: self._fleet.ready(node), PATIENCE, f"{node.name} is up again")
        # What was asked before this moment may still show it from its former life.
        self._settled = time.monotonic()

    def close(self) -> None:
        """Stop asking."""
        self._watcher.close()
        self._http.close()

    def _at_rest(self) -> bool:
        running = self._book.running()
        left = sum(self._book.total - one.executed for one in running if one.executed)
        if left < MODULES * TESTS // 2 and all(one.executed for one in running):
            submission = self._book.new(0)
            archive = _archive(submission.number)
            submission.evaluation = self._http.submit(archive, submission.key, {"collection": "lazy"})
        view = self._book.view
        return (
            left >= LEFT
            and view.at > self._settled
            and len(view.voters) >= VOTERS
            and (view.durability == "replicated" or VOTERS == 1)
            and view.members >= {node.address for node in self._fleet.nodes}
        )


def _archive(number: int) -> bytes:
    """A project of ``MODULES`` times ``TESTS`` tests that sleep."""
    wait = f"threading.Event().wait({SECONDS})"
    module = "import threading\n\n" + "".join(f"def test_{n:02}(): {wait}\n" for n in range(TESTS))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("sleeper/number.txt", f"{number}\n")
        for n in range(MODULES):
            zipped.writestr(f"sleeper/tests/test_m{n:02}.py", module)
    return buffer.getvalue()
