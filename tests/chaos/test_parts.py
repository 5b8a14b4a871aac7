"""The harness must not be wrong itself: its schedule, its arithmetic, its judgement, its network."""

from __future__ import annotations

import io
import itertools
import select
import subprocess
import zipfile

import pytest

from tests.chaos import schedule, suite
from tests.chaos.checks import Tally
from tests.chaos.gaps import ENOUGH, Availability, Gaps
from tests.chaos.network import Namespaces, NetworkError
from tests.support.waiting import until

SECONDS = 5.0
FINISHED = {"state": "finished", "tests": {"total": suite.TOTAL}}


def report(seed: int) -> list[dict[str, object]]:
    """The right report of the seed's suite."""
    return [
        {"nodeid": nodeid, "occurrence": occurrence, "outcome": outcome, "attempts": [{}]}
        for (nodeid, occurrence), outcome in suite.expected(seed).items()
    ]


# --- schedule and suite ---------------------------------------------------------------------------


def test_a_seed_is_a_schedule():
    first = list(itertools.islice(schedule.steps(7, 1.0), 200))
    assert first == list(itertools.islice(schedule.steps(7, 1.0), 200))
    assert first != list(itertools.islice(schedule.steps(8, 1.0), 200))


def test_a_schedule_has_everything_in_it():
    steps = list(itertools.islice(schedule.steps(1, 1.0), 200))
    assert {(step.kind, step.role) for step in steps} == set(
        itertools.product(schedule.KINDS, ("master", "backup", "worker"))
    )
    assert min(step.seconds for step in steps) < 1.0 < max(step.seconds for step in steps)


def test_further_kinds_come_only_when_they_are_named():
    named = {step.kind for step in itertools.islice(schedule.steps(1, 1.0, schedule.MORE), 200)}
    assert named == set(schedule.MORE)
    mute = {step.mute for step in itertools.islice(schedule.steps(1, 1.0, ["oneway"]), 200)}
    assert mute == {True, False}


def test_voters_are_spared_on_request():
    steps = itertools.islice(schedule.steps(1, 1.0, ["kill"], masters=False), 200)
    assert {(step.kind, step.role) for step in steps} == {("kill", "worker")}


def test_the_suite_is_known_and_of_every_outcome():
    expected = suite.expected(3)
    assert len(expected) == suite.TOTAL == 600
    assert set(expected.values()) == {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}
    with zipfile.ZipFile(io.BytesIO(suite.archive(3, 1))) as zipped:
        modules = [name for name in zipped.namelist() if name.endswith(".py")]
    assert len(modules) == suite.MODULES
    assert suite.archive(3, 1) != suite.archive(3, 2)


# --- judgement ------------------------------------------------------------------------------------


def test_the_right_report_is_right():
    tally = Tally()
    tally.add(1, suite.expected(1), FINISHED, report(1))
    assert (tally.verdicts, tally.lost, tally.wrong, tally.doubled) == (600, 0, 0, 0)
    assert tally.findings == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda lines: lines.pop(), "lost"),
        (lambda lines: lines[0].update(outcome="lost"), "lost"),
        (lambda lines: lines[0].update(outcome="notrun"), "lost"),
        (lambda lines: lines[0].update(outcome="crashed"), "wrong"),
        (lambda lines: lines.append(lines[0] | {"nodeid": "tests/test_other.py::test_a"}), "wrong"),
        (lambda lines: lines.append(dict(lines[0])), "doubled"),
    ],
)
def test_a_report_that_is_not_right_is_told(change, field):
    lines, tally = report(1), Tally()
    change(lines)
    tally.add(1, suite.expected(1), FINISHED, lines)
    assert {name: getattr(tally, name) for name in ("lost", "wrong", "doubled")} == {
        "lost": 0,
        "wrong": 0,
        "doubled": 0,
        field: 1,
    }
    assert len(tally.findings) == 1


def test_an_evaluation_that_did_not_finish_is_told():
    tally = Tally()
    answer = {"state": "failed", "detail": "why", "tests": {"total": 0}}
    tally.add(1, suite.expected(1), answer, [])
    assert tally.lost == suite.TOTAL
    assert any("is failed: why" in finding for finding in tally.findings)


def test_tests_that_were_tried_again_are_counted():
    lines, tally = report(1), Tally()
    passed = next(line for line in lines if line["outcome"] == "passed")
    failed = next(line for line in lines if line["outcome"] == "failed")
    passed["attempts"] = [{}, {}]
    failed["attempts"] = [{}, {}]
    tally.add(1, suite.expected(1), FINISHED, lines)
    assert tally.rerun == 1, "a failure is confirmed anyway"


# --- arithmetic -----------------------------------------------------------------------------------


def test_a_gap_ends_with_growth_that_was_asked_for_after_the_kill():
    gaps = Gaps()
    gaps.seen(0.0, 0.1, 1, 10, 590)
    gaps.killed(1.0, "master")
    gaps.seen(0.9, 1.1, 1, 11, 589)  # asked before: the dead may have answered
    gaps.seen(2.0, 2.1, 1, 20, 580)  # the first after it: may show what was accepted before
    gaps.seen(2.1, 2.2, 1, 20, 580)
    gaps.seen(2.5, 2.6, 1, 21, 579)
    assert gaps.of("master") == [pytest.approx(1.6)]
    assert gaps.of("worker") == []


def test_a_kill_without_work_left_says_nothing():
    gaps = Gaps()
    gaps.seen(0.0, 0.1, 1, 590, ENOUGH - 1)
    gaps.killed(1.0, "master")
    gaps.seen(2.0, 2.1, 1, 595, 5)
    gaps.seen(2.2, 2.3, 1, 600, 0)
    assert gaps.measured == []


def test_gaps_that_nothing_can_close_are_dropped():
    gaps = Gaps()
    gaps.seen(0.0, 0.1, 1, 10, 590)
    gaps.killed(1.0, "worker")
    gaps.over(1)
    gaps.seen(5.0, 5.1, 2, 0, 600)
    gaps.seen(6.0, 6.1, 2, 9, 591)
    assert gaps.measured == []


def test_the_longest_wait_for_an_answer():
    availability = Availability()
    for at in (1.0, 1.1, 3.4, 3.5):
        availability.answered(at)
    assert availability.longest == pytest.approx(2.3)


# --- the network ----------------------------------------------------------------------------------

_ECHO = """
import socket
listener = socket.create_server(("{host}", {port}))
print("ready", flush=True)
sock, _ = listener.accept()
while data := sock.recv(1):
    print(data.decode(), flush=True)
    sock.sendall(data)
"""
_ASK = """
import socket, sys
sock = socket.create_connection(("{host}", {port}), timeout=5)
sock.settimeout(0.3)
for number in sys.stdin:
    sock.sendall(number[:1].encode())
    try:
        print(sock.recv(1).decode(), flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""


@pytest.fixture
def network():
    try:
        network = Namespaces(2)
    except NetworkError as error:
        pytest.skip(str(error))
    yield network
    network.close()


CUTS = {
    "both ways": (lambda network: network.cut(0), False),
    "deaf": (lambda network: network.cut_oneway(0, mute=False), False),
    "mute": (lambda network: network.cut_oneway(0, mute=True), True),
}
"""How the first node is cut off, and whether it still hears the other."""


@pytest.mark.parametrize(("cut", "hears"), CUTS.values(), ids=CUTS)
def test_a_node_that_is_cut_off_keeps_its_connections(network, cut, hears):
    if cut is not CUTS["both ways"][0] and not network.can_cut_oneway:
        pytest.skip("one-way cuts need iptables")
    host, _, port = network.addresses[0].rpartition(":")

    def spawn(node: int, text: str) -> subprocess.Popen[str]:
        command = network.python(node, text.format(host=host, port=port))
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(number: int) -> str:
        client.stdin.write(f"{number}\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    with spawn(0, _ECHO) as server:
        assert server.stdout.readline() == "ready\n"
        with spawn(1, _ASK) as client:
            assert ask(1) == server.stdout.readline().strip() == "1"
            cut(network)
            assert ask(2) == "silence"
            heard, _, _ = select.select([server.stdout], [], [], SECONDS if hears else 0.0)
            assert bool(heard) is hears
            network.heal(0)
            assert until(lambda: ask(3) == "2", 10.0, "what was sent meanwhile arrives: nothing was closed")
            client.stdin.close()
            client.wait(10.0)
        server.wait(10.0)
