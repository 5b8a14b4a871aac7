"""The log: positions, repeats, replay, trimming, and what a killed process leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node.core import records as rec
from node.core.voting_events import Commit, Persist, Saved
from node.store import OutOfStep, Store, StoreError, StoreSettings, journal
from proto.messages import TestId
from proto.voting import EMPTY, Epoch, LogRecord
from tests.store.story import PACKAGE, Story, case, entries, persist

ROOT = Path(__file__).parents[2]


def _positions(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [position for (position,) in connection.execute("SELECT position FROM log ORDER BY position")]
    finally:
        connection.close()


def _outcomes(store: Store) -> dict[str, int]:
    rows = store.evaluation(12345)
    assert rows is not None
    return rows.projects[0].modules[0].outcomes


def test_what_is_committed_is_in_the_tables_and_the_rest_is_not(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 2})
    first = story.position + 1
    attempts = entries(first, [story.attempt("a.py", 0, "passed"), story.attempt("a.py", 1, "failed")])
    written = store.write([persist(*attempts, commit=first - 1)])
    assert written.applied == first - 1
    assert _outcomes(store) == {}
    assert store.write([Commit(upto=first, records=attempts[:1])]).applied == first
    assert _outcomes(store) == {"passed": 1}
    # Told again, nothing changes; and a log that was cut has no say any more.
    assert store.write([Commit(upto=first, records=())]).applied == first
    other = entries(first + 1, [story.attempt("a.py", 1, "passed")], Epoch(2, "n2"))
    store.write([persist(truncate_from=first + 1), persist(*other, commit=first + 1)])
    assert _outcomes(store) == {"passed": 2}


def test_a_record_that_was_cut_never_reaches_the_tables(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 2})
    first = story.position + 1
    store.write([persist(*entries(first, [story.attempt("a.py", 0, "failed")]))])
    # Another master's record of voters takes its place, and is not decoded.
    voters = LogRecord(Epoch(2, "n2"), first, b"", ("n1", "n2"))
    other = entries(first + 1, [story.attempt("a.py", 1, "passed")], Epoch(2, "n2"))
    store.write([persist(voters, *other, truncate_from=first, commit=first + 1)])
    assert _outcomes(store) == {"passed": 1}


def test_what_is_in_the_tables_cannot_be_cut(store: Store, story: Story) -> None:
    story.accept()
    with pytest.raises(OutOfStep, match="was committed here and is not elsewhere"):
        store.write([persist(truncate_from=story.position)])


def test_a_gap_is_refused(store: Store, story: Story) -> None:
    story.accept()
    with pytest.raises(OutOfStep, match="record 9 does not follow position 3"):
        store.write([persist(*entries(9, [rec.Ended(evaluation=12345, state="finished", at=1.0)]))])
    assert store.saved().records[-1].position == 3


def test_a_replica_finds_its_vote_and_its_log_again(store: Store, story: Story) -> None:
    story.accept()
    named = LogRecord(Epoch(4, "n2"), story.position + 1, b"", ("n1", "n2"))
    store.write([Persist(number=2, counter=4, voted="n2", commit=3, records=(named,))])
    store.close()
    again = Store(store.path)
    saved = again.saved()
    again.close()
    assert (saved.counter, saved.voted, saved.commit, saved.base) == (4, "n2", 3, EMPTY)
    assert [record.position for record in saved.records] == [1, 2, 3, 4]
    assert saved.records[0].voters == ("n1",)
    assert saved.records[-1] == named


def test_what_was_committed_and_not_applied_is_applied_after_a_restart(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    first = story.position + 1
    store.write([persist(*entries(first, [story.attempt("a.py", 0, "passed")]))])
    store.close()
    again = Store(store.path)
    again.write([Commit(upto=first, records=())])
    assert _outcomes(again) == {"passed": 1}
    again.close()


def test_a_founder_with_an_older_log_keeps_what_it_holds(path: Path) -> None:
    store = Store(path)
    story = Story(store)
    story.accept(1)
    store.found("n9")
    saved = store.saved()
    assert saved.base.position == 3
    assert [record.voters for record in saved.records] == [("n9",)]
    assert [record.evaluation for record in store.replay().records] == [1, 1]
    store.close()


def test_members_keep_their_place(store: Store, story: Story) -> None:
    joined = [rec.Joined(node=f"n{n}", address=f"h:{n}", incarnation=1, slots=1) for n in (1, 2, 3)]
    story.tell(*joined, rec.Departed(node="n2", why="dead"))
    again = rec.Joined(node="n1", address="h:9", incarnation=2, slots=4, alone=2)
    story.tell(again)
    assert store.replay().members == [again, joined[2]]


def test_an_interrupted_attempt_is_listed_and_is_no_verdict(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 1})
    test = case("a.py", 0)
    story.tell(
        rec.Interrupted(
            evaluation=12345, project=0, module="a.py", test=test, how="node", node="n2", message="lost"
        ),
        rec.Interrupted(evaluation=12345, project=0, module="b.py", test=TestId("b.py"), how="runner"),
        story.attempt("a.py", 0, "passed"),
    )
    page = store.tests(12345)
    assert page is not None
    assert [(test.outcome, [a.outcome for a in test.attempts]) for test in page.tests] == [
        ("passed", ["lost", "passed"])
    ]


def test_a_failed_batch_leaves_nothing_and_the_next_one_works(store: Store, story: Story) -> None:
    story.accept()
    bad = rec.Planned(evaluation=12345, project=5, module="new.py", tests=(case("new.py", 0),))
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        story.tell(rec.Planned(evaluation=12345, project=0, module="a.py", tests=(case("a.py", 0),)), bad)
    assert store.applied() == store.saved().records[-1].position == story.position
    story.run({"a.py": "."})
    page = store.tests(12345)
    assert page is not None
    assert page.total == 1


def test_everything_is_there_after_a_restart(store: Store, story: Story) -> None:
    story.accept(7, request="key")
    story.run({"a.py": ".F-"})
    before = (store.evaluation(7), store.tests(7), store.evaluations(), store.stats())
    store.close()
    again = Store(store.path)
    try:
        assert (again.evaluation(7), again.tests(7), again.evaluations(), again.stats()) == before
        assert again.request("key") == 7
        assert again.request("other") is None
        # The writer finds tests it did not plan itself.
        later = Story(again)
        later.evaluation = 7
        later.tell(later.attempt("a.py", 2, "passed"))
        page = again.tests(7)
        assert page is not None
        assert [test.outcome for test in page.tests] == ["passed", "failed", "passed"]
    finally:
        again.close()


def test_replay_gives_unfinished_evaluations_in_order(store: Store, story: Story) -> None:
    story.accept(1)
    story.end()
    story.accept(2)
    story.tell(rec.Audited(package=PACKAGE, fingerprint="f", dependent=True))
    story.accept(9)
    story.end("cancelled")
    story.evaluation = 2
    story.run({"a.py": "."})
    records, highest, _ = store.replay()
    assert highest == 9
    assert isinstance(records[0], rec.Audited)
    assert [type(record).__name__ for record in records[1:]] == [
        "Accepted", "Began", "Began", "Listed", "Planned", "Attempted",
    ]  # fmt: skip
    assert {record.evaluation for record in records[1:]} == {2}
    assert records[-1] == story.attempt("a.py", 0, "passed")


def test_audits_are_remembered(store: Store, story: Story) -> None:
    assert store.audited(PACKAGE, "f") is None
    story.tell(rec.Audited(package=PACKAGE, fingerprint="f", dependent=True))
    assert store.audited(PACKAGE, "f") is True
    story.tell(rec.Audited(package=PACKAGE, fingerprint="f", dependent=False))
    assert store.audited(PACKAGE, "f") is False
    assert store.audited(PACKAGE, "g") is None


def test_an_empty_store_replays_nothing(store: Store) -> None:
    assert store.replay() == ([], 0, [])
    assert store.saved() == Saved()


def test_the_log_of_ended_evaluations_is_trimmed_to_a_tail(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "TRIMMED_AT_ONCE", 10)
    store = Store(path, StoreSettings(log_tail=5))
    try:
        story = Story(store)
        for number in range(1, 21):
            story.accept(number)
            story.end()
        held = _positions(path)
        assert held == list(range(held[0], story.position + 1)), "what is left is consecutive"
        assert 5 <= len(held) <= 2 * 5 + 10
        base = store.saved().base.position
        assert held[0] <= base + 1, "a peer that has everything before the base can be served"
        assert 5 <= story.position - base < 2 * 5
    finally:
        store.close()


def test_trimming_never_takes_what_replay_needs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "TRIMMED_AT_ONCE", 2)
    store = Store(path, StoreSettings(log_tail=1))
    try:
        story = Story(store)
        story.accept(1)
        story.end()
        story.accept(2)
        started = story.position - 1
        for number in range(3, 20):
            story.accept(number)
            story.end()
        assert _positions(path)[0] <= started
        assert [record.evaluation for record in store.replay().records] == [2, 2]
    finally:
        store.close()


def test_facts_about_the_node_are_kept(store: Store) -> None:
    assert store.kept("epoch") is None
    store.keep("epoch", "3")
    store.keep("epoch", "4")
    store.close()
    again = Store(store.path)
    assert again.kept("epoch") == "4"
    again.close()


def test_readers_see_whole_batches_while_others_are_written(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 400})
    done = threading.Event()
    seen: list[int] = []
    broken: list[Exception] = []

    def read() -> None:
        try:
            while not done.is_set():
                rows = store.evaluation(12345)
                assert rows is not None
                seen.append(sum(rows.projects[0].modules[0].outcomes.values()))
        except Exception as error:  # noqa: BLE001 - told by the main thread
            broken.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start in range(0, 400, 20):
        story.tell(*(story.attempt("a.py", start + n, "passed") for n in range(20)))
    done.set()
    for reader in readers:
        reader.join(30)
    assert broken == []
    assert all(count % 20 == 0 for count in seen)


_KILLED = """
import sys
from pathlib import Path
from node.store import Store
from tests.store.story import Story

store = Store(Path(sys.argv[1]))
story = Story(store)
story.accept(1)
story.plan({"a.py": 3000})
for start in range(0, 3000, 30):
    if start == 1500:
        # From here on the process waits in the middle of its transaction to be killed.
        real = store._writer.apply
        def apply(records):
            real(records)
            print("inside", flush=True)
            sys.stdin.read()
        store._writer.apply = apply
    story.tell(*(story.attempt("a.py", start + n, "passed") for n in range(30)))
    print(story.position, flush=True)
"""


def test_a_process_killed_inside_a_transaction_leaves_all_before_it(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    acknowledged = 0
    for line in process.stdout:
        if line.strip() == "inside":
            break
        acknowledged = int(line)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    process.stdout.close()
    process.stdin.close()

    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    store = Store(path)
    try:
        assert store.applied() == acknowledged
        rows = store.evaluation(1)
        assert rows is not None
        assert rows.projects[0].modules[0].outcomes == {"passed": 1500}
        # The log and the tables tell the same.
        attempts = [record for record in store.replay().records if isinstance(record, rec.Attempted)]
        assert len(attempts) == 1500
        story = Story(store)
        story.evaluation = 1
        story.tell(story.attempt("a.py", 1500, "failed"))
    finally:
        store.close()


def test_ids_that_are_reserved_are_taken(story: Story) -> None:
    story.tell(rec.Reserved(upto=2_999_999))
    story.accept(7)
    assert story.store.replay().highest == 2_999_999
