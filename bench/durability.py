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

import gevent.socket

from bench.rounds import interleaved, markdown, median, ratio
from node.net.wire import Wire
from node.runner.batch import MOST
from proto import messages as m
from proto.handshake import Identity
from proto.messages import TestId, Verdict
from tests.chaos.http import Http
from tests.chaos.network import Loopback
from tests.chaos.nodes import Fleet
from tests.support.waiting import until

MODULES = 200
TESTS = 300
SLOTS = 8
REPLICAS = (0, 1, 2)
SETTLE_SECONDS = 60.0


def table(rounds: int) -> str:
    """One row per number of replicas."""
    fleets = {replicas: _fleet(replicas) for replicas in REPLICAS}
    try:
        ways = {str(replicas): _way(fleet) for replicas, fleet in fleets.items()}
        found = interleaved(ways, rounds)
        voters = {name: _settled(fleets[int(name)], 0) for name in ways}
    finally:
        for fleet in fleets.values():
            fleet.close(keep=False)
    rows = [
        [name, str(len(voters[name])), median(found[name], 0), ratio(found[name], found["0"])]
        for name in found
    ]
    title = f"Verdicts accepted, {MODULES * TESTS:,} of a worker with {SLOTS} slots, loopback"
    return markdown(title, ["replicas", "voters", "verdicts a second", "of replicas 0"], rows)


def _fleet(replicas: int) -> Fleet:
    """2 x ``replicas`` + 1 nodes that run nothing: all of them are voters."""
    fleet = Fleet(
        Loopback(2 * replicas + 1),
        workers=2 * replicas,
        slots=0,
        environment={"TESTRING_REPLICAS": str(replicas)},
    )
    fleet.start()
    _settled(fleet, 2 * replicas + 1)
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
    master = http.get("/health")["master"]
    host, _, port = master.rpartition(":")
    sock = gevent.socket.create_connection((host, int(port)))
    local = Identity(role="node", node=f"bench{number}", address=f"127.0.0.1:{number + 1}", incarnation="1")
    with Wire(sock, initiator=True, local=local, secret=fleet.secret) as wire:
        wire.handshake()
        wire.send(m.Join(address=local.address, slots=SLOTS))
        evaluation = http.submit(_archive(number), f"bench-{number}", {"collection": "lazy"})
        seconds = _work(wire)
        executed = http.get(f"/evaluation/{evaluation}")["tests"]["executed"]
        assert executed == MODULES * TESTS, f"{executed} verdicts are there"
        http.delete(f"/evaluation/{evaluation}")
    http.close()
    return MODULES * TESTS / seconds


def _work(wire: Wire) -> float:
    """Play the worker until every verdict is answered; the seconds it took."""
    started = 0.0
    answered: Counter[m.AssignmentId] = Counter()
    while answered.total() < MODULES * TESTS:
        message = wire.next_message()
        if isinstance(message, m.OpenSession):
            modules = tuple(f"tests/test_{number:03}.py" for number in range(MODULES))
            wire.send(m.SessionOpened(session=message.session, modules=modules))
        elif isinstance(message, m.Run):
            started = started or time.monotonic()
            for word in _words(message):
                wire.connection.send(word)
            wire.flush()
        elif isinstance(message, m.Answered):
            answered[message.assignment] = max(answered[message.assignment], message.upto)
        elif isinstance(message, m.CloseSession):
            wire.send(m.SessionEnded(session=message.session, how="closed"))
    return time.monotonic() - started


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
