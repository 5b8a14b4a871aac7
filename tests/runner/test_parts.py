"""The supervisor's pure parts: the channel's lines, the batch of verdicts, the rule of endings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.runner import dialogue
from node.runner.batch import MOST, MOST_BYTES, Batch
from node.runner.children import Finished
from node.runner.ending import Progress, ending, stack_dump
from proto.messages import AssignmentId, Started, TestId, Verdict, Verdicts

ONE, TWO = AssignmentId(1, "m", 1), AssignmentId(1, "m", 2)


@given(st.lists(st.integers(1, 40)))
def test_lines_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    data = b'["started",1,["a::b",0]]\n["done",1]\n["handed",2,[["x",3]],"tail"]\n["ended",0]\n'
    lines = dialogue.Lines()
    found = []
    for size in cuts:
        found += lines.feed(data[:size]) if data else []
        data = data[size:]
    found += list(lines.feed(data))
    assert found == [
        dialogue.Started(1, TestId("a::b", 0)),
        dialogue.Done(1),
        dialogue.Handed(2, (TestId("x", 3),), "tail"),
        dialogue.Ended(0),
    ]


@given(st.binary(max_size=300))
def test_garbage_is_one_kind_of_error(data: bytes) -> None:
    lines = dialogue.Lines()
    try:
        events = list(lines.feed(data + b"\n"))
    except dialogue.ChannelCorrupted:
        return
    assert events == [] or all(isinstance(event, dialogue.Event) for event in events)


@pytest.mark.parametrize(
    "line",
    [
        b'["started",1]',
        b'["started",-1,["a",0]]',
        b'["unknown",1]',
        b'["verdict",1,"m",["a",0],{"outcome":"great"}]',
        b'["ended","x"]',
        b"",
    ],
)
def test_wrong_events(line: bytes) -> None:
    with pytest.raises(dialogue.ChannelCorrupted):
        list(dialogue.Lines().feed(line + b"\n"))


def test_endless_line() -> None:
    lines = dialogue.Lines()

    def feed_without_end() -> None:
        for _ in range(100):
            list(lines.feed(b"x" * 100_000))

    with pytest.raises(dialogue.ChannelCorrupted, match="more than"):
        feed_without_end()


def passed(name: str, output: str = "") -> Verdict:
    return Verdict(test=TestId(name), outcome="passed", output=output)


def test_batch_joins_verdicts_and_forgets_finished_starts() -> None:
    batch = Batch()
    assert batch.due is None
    batch.started(ONE, TestId("a"))
    assert batch.due is not None
    assert batch.verdict(ONE, passed("a")) == []
    batch.started(ONE, TestId("b"))
    assert batch.take() == [
        Verdicts(assignment=ONE, first=0, verdicts=(passed("a"),)),
        Started(assignment=ONE, test=TestId("b")),
    ]
    assert (batch.due, batch.take()) == (None, [])


def test_batch_is_bounded_and_keeps_assignments_apart() -> None:
    batch = Batch()
    out = [message for n in range(MOST) for message in batch.verdict(ONE, passed(str(n)))]
    assert [len(message.verdicts) for message in out] == [MOST]
    assert batch.verdict(ONE, passed("big", "x" * MOST_BYTES))
    assert batch.verdict(ONE, passed("a")) == []
    assert batch.verdict(TWO, passed("b")) == [Verdicts(assignment=ONE, first=0, verdicts=(passed("a"),))]


def exited(code: int, output: str = "") -> Finished:
    return Finished(why="exit", exit_code=code, output=output)


@pytest.mark.parametrize(
    ("progress", "finished", "how", "message"),
    [
        (Progress(opened=True, exit_code=1), exited(1), "closed", ""),
        (Progress(opened=True, exit_code=5), exited(5), "closed", ""),
        (Progress(opened=True), exited(0), "died", "called os._exit(0)"),
        (
            Progress(opened=True, exit_code=3),
            exited(3, "INTERNALERROR> KeyError: 1"),
            "died",
            "INTERNALERROR",
        ),
        (Progress(), exited(4, "ERROR: usage: x"), "unusable", "usage: x"),
        (Progress(exit_code=4), exited(4, "ERROR: not found"), "unusable", "not found"),
        (Progress(), Finished(why="exit", signal="SIGSEGV"), "died", "killed by SIGSEGV"),
        (Progress(opened=True, killed="cancelled"), exited(0), "killed", "cancelled"),
        (Progress(timed_out="slow"), exited(0), "unusable", "slow"),
        (Progress(opened=True, collecting="m", timed_out="slow"), exited(0), "timeout", "slow"),
        (Progress(opened=True), Finished(why="lost", message="gone"), "died", "gone"),
        (Progress(), Finished(why="start", message="no such file"), "unusable", "no such file"),
        (Progress(opened=True), Finished(why="output", output_bytes=17 << 20), "output", "more than 17 MiB"),
    ],
)
def test_endings(progress: Progress, finished: Finished, how: str, message: str) -> None:
    ended = ending(ONE, progress, finished)
    assert ended.how == how
    assert message in ended.message


def test_stack_dump_is_cut_out() -> None:
    output = 'test_x.py Current thread 0x00007f (most recent call first):\n  File "x"\n'
    assert stack_dump("noise\n" + output).startswith("Current thread")
    assert stack_dump("Thread of my own") == ""
