"""Verdicts a second that a master accepts, with no backup and with some: what durability costs.

A worker that runs nothing speaks CDProto to the master: it joins, is given modules, and sends made-up
verdicts in batches as a runner does, so that neither pytest nor process starts are in the figure. A
verdict counts when it was answered, which is when it is on the disks of a majority of the voters.
"""

from __future__ import annotations

import io
import itertools
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator

import gevent
from gevent.event import Event as Flag

from bench.rounds import interleaved, markdown, median, ratio
from node.net.links import Links, listen
from node.net.peer import Peer
from node.net.wire import Wire
from node.runner.batch import MOST
from proto import messages as m
from proto.handshake import Identity
from proto.liveness import Timing
from proto.messages import TestId, Verdict
from proto.voting import RingPing, RingPong
from tests.chaos.http import Http
from tests.chaos.network import Loopback
from tests.chaos.nodes import Fleet
from tests.support.waiting import until

MODULES = 200
TESTS = 300
SLOTS = 8
VOTERS = (1, 2, 3, 5)
"""Nodes of each cluster: all of them hold the log. Two is what ``replicas`` 1 gives with one backup."""
SETTLE_SECONDS = 60.0
PATIENCE = 120.0


def table(rounds: int) -> str:
    """One row per number of voters."""
    fleets = {voters: _fleet(voters) for voters in VOTERS}
    try:
        ways = {str(voters): _way(fleet) for voters, fleet in fleets.items()}
        found = interleaved(ways, rounds)
        voters = {name: _settled(fleets[int(name)], 0) for name in ways}
    finally:
        for fleet in fleets.values():
            fleet.close(keep=False)
    rows = [
        [str(int(name) // 2), str(len(voters[name])), median(found[name], 0), ratio(found[name], found["1"])]
        for name in found
    ]
    title = f"Verdicts accepted, {MODULES * TESTS:,} of a worker with {SLOTS} slots, loopback"
    return markdown(title, ["replicas", "voters", "verdicts a second", "of one voter"], rows)


def _fleet(voters: int) -> Fleet:
    """So many nodes that run nothing and hold the log."""
    fleet = Fleet(
        Loopback(voters),
        workers=voters - 1,
        slots=0,
        environment={"TESTRING_REPLICAS": str(voters // 2)},
    )
    fleet.start()
    _settled(fleet, voters)
    return fleet


def _settled(fleet: Fleet, voters: int) -> list[str]:
    """The voters, once ``/health`` names so many."""
    http = Http(fleet.url, Counter())
    try:
        return until(
            lambda: found if len(found := http.get("/health")["voters"]) >= voters else [],
            SETTLE_SECONDS,
            f"{voters} voters",
        )
    finally:
        http.close()


def _way(fleet: Fleet) -> Callable[[], float]:
    numbers = itertools.count()
    return lambda: _rate(fleet, next(numbers))


def _rate(fleet: Fleet, number: int) -> float:
    """Verdicts a second of one evaluation, from the first module dealt to the last answer."""
    http = Http(fleet.url, Counter())
    worker = _Worker(f"bench{number}", fleet.secret)
    try:
        worker.join(http.get("/health")["master"])
        evaluation = http.submit(_archive(number), f"bench-{number}", {"collection": "lazy"})
        with gevent.Timeout(PATIENCE, TimeoutError(f"{worker.answered.total()} verdicts were answered")):
            worker.done.wait()
        executed = http.get(f"/evaluation/{evaluation}")["tests"]["executed"]
        assert executed == MODULES * TESTS, f"{executed} verdicts are there"
        http.delete(f"/evaluation/{evaluation}")
    finally:
        worker.links.close("the bench is over")
        http.close()
    return MODULES * TESTS / worker.seconds


class _Worker:
    """A member that runs nothing. Its neighbours on the ring dial it and ping it, so it listens too."""

    def __init__(self, node: str, secret: bytes) -> None:
        listener = listen("127.0.0.1:0")
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.links = Links(
            lambda role: Identity(role=role, node=node, address=self.address, incarnation="1"),
            secret,
            Timing(),
            self,
        )
        self.answered: Counter[m.AssignmentId] = Counter()
        self.done = Flag()
        self.seconds = 0.0
        self._started = 0.0
        gevent.spawn(self.links.serve, listener)

    def join(self, master: str) -> None:
        """Become a member that holds nothing."""
        peer = self.links.connect(master)
        peer.send(m.Join(address=self.address, slots=SLOTS))
        peer.send(m.Reported())

    def cluster_seen(self, cluster: str) -> None:
        """It belongs to whoever takes it."""

    def peer_up(self, peer: Peer) -> None:
        """A neighbour, or the master."""

    def peer_down(self, peer: Peer, evidence: bool, reason: str) -> None:
        """Whoever still wants something dials again."""

    def stream(self, wire: Wire) -> None:
        """Nothing is fetched here."""

    def peer_said(self, peer: Peer, message: m.AnyMessage) -> None:
        """Play the worker."""
        match message:
            case RingPing():
                peer.send(RingPong(number=message.number))
            case m.OpenSession(mode="lazy"):
                # The audit's session, which collects whole, is left waiting: it is not measured.
                modules = tuple(f"tests/test_{number:03}.py" for number in range(MODULES))
                peer.send(m.SessionOpened(session=message.session, modules=modules))
            case m.Run():
                self._started = self._started or time.monotonic()
                for word in _words(message):
                    peer.send(word)
            case m.CloseSession():
                peer.send(m.SessionEnded(session=message.session, how="closed"))
            case m.Answered():
                self.answered[message.assignment] = max(self.answered[message.assignment], message.upto)
                if self.answered.total() >= MODULES * TESTS and not self.seconds:
                    self.seconds = time.monotonic() - self._started
                    self.done.set()


def _words(run: m.Run) -> Iterator[m.AnyMessage]:
    """What a session says about one module: what it collected, a verdict each, done."""
    tests = run.select or tuple(TestId(f"{run.module}::test_{number:03}") for number in range(TESTS))
    if not run.select:
        yield m.Collected(assignment=run.assignment, module=run.module, tests=tests)
    reports = ("setup passed", "call passed", "teardown passed")
    for first in range(0, len(tests), MOST):
        yield m.Verdicts(
            assignment=run.assignment,
            first=first,
            verdicts=tuple(
                Verdict(test=test, outcome="passed", module=run.module, seconds=0.001, reports=reports)
                for test in tests[first : first + MOST]
            ),
        )
    yield m.Done(assignment=run.assignment)


def _archive(number: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("bench/tests/test_000.py", f"def test_000(): assert {number} >= 0\n")
    return buffer.getvalue()
