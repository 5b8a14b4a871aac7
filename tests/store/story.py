"""Record sequences in few words, and the store they are written to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from node.core import records as rec
from node.core.voting_events import Persist
from node.store import Store
from proto.messages import AssignmentId, Options, TestId
from proto.voting import Epoch, LogRecord

MASTER = "192.168.1.100:7000"
ONE = "192.168.1.100:7001"
TWO = "192.168.1.100:7002"
PACKAGE = "a" * 64


NODE = "n1"
EPOCH = Epoch(1, NODE)


def entries(first: int, records: Iterable[rec.AnyRecord], epoch: Epoch = EPOCH) -> tuple[LogRecord, ...]:
    """Records as the log has them, from position ``first`` on."""
    return tuple(LogRecord(epoch, at, rec.encode(record)) for at, record in enumerate(records, first))


def persist(*records: LogRecord, commit: int = 0, **named: Any) -> Persist:
    """One ``Persist`` of these records."""
    return Persist(number=1, counter=1, voted=NODE, commit=commit, records=records, **named)


class Story:
    """Appends records to a store in order, positions counted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        if not store.applied():
            store.found(NODE)
        self.position = store.applied()
        self.evaluation = 0

    def tell(self, *records: rec.AnyRecord) -> None:
        """Append them as one batch."""
        last = self.position + len(records)
        self.store.write([persist(*entries(self.position + 1, records), commit=last)])
        self.position = last

    def accept(self, number: int = 12345, *sources: rec.Source, request: str = "", **options: Any) -> None:
        """A submission that is being worked on from second 100 on."""
        self.evaluation = number
        given = sources or (rec.Source(name="chord", package=PACKAGE, size=10),)
        self.tell(
            rec.Accepted(
                evaluation=number,
                request=request or f"request-{number}",
                at=90.0,
                projects=given,
                options=Options(**options),
            ),
            rec.Began(evaluation=number, state="preparing", at=100.0),
        )

    def run(self, modules: dict[str, str], project: int = 0, node: str = ONE, seconds: float = 0.5) -> None:
        """List, plan and attempt: each module's word has one letter per test (see ``OUTCOMES``)."""
        self.plan({name: len(word) for name, word in modules.items()}, project)
        for name, word in modules.items():
            for index, letter in enumerate(word):
                if letter != "-":
                    self.tell(
                        self.attempt(name, index, OUTCOMES[letter], project, node=node, seconds=seconds)
                    )

    def plan(self, modules: dict[str, int], project: int = 0) -> None:
        number = self.evaluation
        self.tell(
            rec.Began(evaluation=number, state="running", at=101.0),
            rec.Listed(evaluation=number, project=project, modules=tuple(modules)),
        )
        for name, count in modules.items():
            tests = tuple(case(name, index) for index in range(count))
            self.tell(rec.Planned(evaluation=number, project=project, module=name, tests=tests))

    def attempt(
        self, module: str, index: int, outcome: Any, project: int = 0, *, final: bool = True, **more: Any
    ) -> rec.Attempted:
        """One attempt at test ``index`` of the module."""
        return rec.Attempted(
            evaluation=self.evaluation,
            project=project,
            module=module,
            test=case(module, index),
            outcome=outcome,
            final=final,
            assignment=AssignmentId(1, "n1", 7),
            **{"node": ONE, "at": 102.0, "seconds": 0.5, **more},
        )

    def end(self, state: Any = "finished", at: float = 103.2, detail: str = "", projects: int = 1) -> None:
        number = self.evaluation
        self.tell(
            *(rec.ProjectEnded(evaluation=number, project=index, state=state) for index in range(projects)),
            rec.Ended(evaluation=number, state=state, at=at, detail=detail),
        )


OUTCOMES = {
    ".": "passed",
    "F": "failed",
    "E": "error",
    "s": "skipped",
    "x": "xfailed",
    "X": "xpassed",
    "T": "timeout",
    "C": "crashed",
    "L": "lost",
    "n": "notrun",
}
"""As pytest's own letters where it has them; ``-`` is a test without a verdict."""


def case(module: str, index: int) -> TestId:
    """Test ``index`` of a module."""
    return TestId(f"{module}::test_{index}")
