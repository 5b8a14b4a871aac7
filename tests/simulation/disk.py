"""A simulated disk: what a node finds again after a crash."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core.voting_events import Persist, Saved
from proto.voting import EMPTY, LogRecord, Mark


@dataclass
class Disk:
    """Counter, vote and log, as the last complete write left them.

    ``snapshot`` stands for the tables: the records that the log no longer has, in order.
    """

    counter: int = 0
    voted: str = ""
    commit: int = 0
    base: Mark = EMPTY
    base_voters: tuple[str, ...] = ()
    records: list[LogRecord] = field(default_factory=list)
    snapshot: list[LogRecord] = field(default_factory=list)
    fetched: dict[Mark, list[LogRecord]] = field(default_factory=dict)

    @classmethod
    def of(cls, saved: Saved) -> Disk:
        return cls(saved.counter, saved.voted, saved.commit, records=list(saved.records))

    def write(self, persist: Persist) -> None:
        """One transaction."""
        self.counter, self.voted, self.commit = persist.counter, persist.voted, persist.commit
        if persist.snapshot is not None:
            self.base, self.base_voters = persist.snapshot, persist.snapshot_voters
            self.snapshot = self.fetched.pop(persist.snapshot, [])
            self.records.clear()
        if persist.truncate_from is not None:
            del self.records[persist.truncate_from - self.base.position - 1 :]
        self.records.extend(persist.records)

    def compact(self, position: int) -> None:
        """Fold the log up to a committed position into the snapshot."""
        count = position - self.base.position
        folded = self.records[:count]
        self.snapshot = self.snapshot + folded
        del self.records[:count]
        self.base = Mark(folded[-1].epoch, position)
        for record in folded:
            if record.voters is not None:
                self.base_voters = record.voters

    def history(self) -> list[LogRecord]:
        """Everything, from position 1 on."""
        return self.snapshot + self.records

    def saved(self) -> Saved:
        return Saved(
            counter=self.counter,
            voted=self.voted,
            commit=self.commit,
            base=self.base,
            base_voters=self.base_voters,
            records=tuple(self.records),
        )
