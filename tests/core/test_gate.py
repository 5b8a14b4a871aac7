"""What tells of a record waits for it; nothing is told of records that the log refused."""

from __future__ import annotations

from node.core import effects as fx
from node.core import records as rec
from node.core.evaluation import Ledger
from node.core.gate import Gate


class Log:
    """Takes records until it is ``closed``."""

    def __init__(self) -> None:
        self.records: list[rec.AnyRecord] = []
        self.closed = False

    def __call__(self, records: tuple[rec.AnyRecord, ...]) -> int | None:
        if self.closed:
            return None
        self.records += records
        return len(self.records)


def said(text: str) -> fx.Say:
    return fx.Say(text=text)


def record(number: int) -> rec.Accepted:
    return rec.Accepted(evaluation=number, request=str(number), at=0.0)


def test_effects_wait_for_the_records_before_them() -> None:
    gate = Gate(Ledger(), Log())
    gate.record(record(1))
    gate.later(said("one"))
    assert gate.flush() == []
    gate.later(said("still one"))
    assert gate.flush() == []
    gate.record(record(2))
    gate.later(said("two"))
    assert gate.flush() == []
    assert gate.committed(1) == [said("one"), said("still one")]
    assert gate.committed(2) == [said("two")]


def test_what_waits_for_nothing_goes_at_once() -> None:
    gate = Gate(Ledger(), Log())
    gate.later(said("now"))
    assert gate.flush() == [said("now")]


def test_a_refused_record_seals_the_gate() -> None:
    log = Log()
    gate = Gate(Ledger(), log)
    gate.record(record(1))
    gate.later(said("one"))
    gate.flush()
    log.closed = True
    gate.record(record(2))
    gate.later(fx.Answer(ticket=5, status=202, body={"id": 2}))
    assert gate.flush() == []
    assert gate.sealed
    gate.later(fx.Answer(ticket=6, status=202, body={"id": 2}))
    assert gate.flush() == [], "the ledger has it, but it may never be in the log"
    assert gate.committed(1) == [said("one")], "what was committed may be told"
    assert {answer.ticket: answer.status for answer in gate.abandoned()} == {5: 503, 6: 503}
