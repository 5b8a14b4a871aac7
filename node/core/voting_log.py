"""The log as a replica holds it: a base that a snapshot covers, and the records after it."""

from __future__ import annotations

from collections.abc import Iterable

from proto.voting import EMPTY, Epoch, LogRecord, Mark

VoterSet = tuple[str, ...]

BATCH_RECORDS = 500
BATCH_BYTES = 1 << 20


class Log:
    """Positions are consecutive from ``base.position + 1``. Knows nothing of disks or votes."""

    def __init__(self, base: Mark, base_voters: VoterSet, records: Iterable[LogRecord]) -> None:
        self.base = base
        self.last = base
        self._records: list[LogRecord] = []
        self._changes: list[tuple[int, VoterSet]] = [(base.position, base_voters)]
        for record in records:
            self.append(record)

    @property
    def voters(self) -> VoterSet:
        """The newest set, committed or not; empty for an empty log."""
        return self._changes[-1][1]

    @property
    def voters_position(self) -> int:
        """Where the newest voters record stands."""
        return self._changes[-1][0]

    def required(self, commit: int) -> tuple[VoterSet, ...]:
        """The sets whose majorities must agree: the last committed one and all after it."""
        newest, voters = self._changes[-1]
        if newest <= commit:
            return (voters,) if voters else ()
        sets: list[VoterSet] = []
        for position, voters in reversed(self._changes):
            if voters and voters not in sets:
                sets.append(voters)
            if position <= commit:
                break
        return tuple(sets)

    def changes(self, first: int, last: int) -> list[VoterSet]:
        """The sets that records ``first`` to ``last`` name, in order."""
        if self._changes[-1][0] < first:
            return []
        return [voters for position, voters in self._changes if first <= position <= last]

    def append(self, record: LogRecord) -> None:
        """Raises ValueError if the record does not follow the last one."""
        if record.position != self.last.position + 1:
            raise ValueError(f"record {record.position} does not follow {self.last}")
        self._records.append(record)
        self.last = Mark(record.epoch, record.position)
        if record.voters is not None:
            self._changes.append((record.position, record.voters))

    def epoch_at(self, position: int) -> Epoch | None:
        """None if the position is before the base or after the end."""
        index = position - self.base.position
        if index == 0:
            return self.base.epoch
        if index < 0 or index > len(self._records):
            return None
        return self._records[index - 1].epoch

    def mark(self, position: int) -> Mark:
        """The mark at a position between the base and the end."""
        epoch = self.epoch_at(position)
        if epoch is None:
            raise ValueError(f"position {position} is not in the log {self.base}..{self.last}")
        return Mark(epoch, position)

    def slice(self, first: int, last: int) -> tuple[LogRecord, ...]:
        """Records ``first`` to ``last``, both included."""
        start = self.base.position + 1
        return tuple(self._records[max(first - start, 0) : max(last - start + 1, 0)])

    def batch(self, first: int) -> tuple[LogRecord, ...]:
        """Records from ``first`` on, as many as one message may carry."""
        start = first - self.base.position - 1
        records = self._records[start : start + BATCH_RECORDS]
        size = 0
        for index, record in enumerate(records):
            size += len(record.payload)
            if size > BATCH_BYTES and index:
                return tuple(records[:index])
        return tuple(records)

    def before_epoch_at(self, position: int) -> int:
        """The last position of the epoch before the one that stands at ``position``."""
        epoch = self.epoch_at(position)
        while position > self.base.position and self.epoch_at(position) == epoch:
            position -= 1
        return position

    def truncate(self, first: int) -> tuple[LogRecord, ...]:
        """Drop ``first`` and all after it, and return them."""
        index = first - self.base.position - 1
        if index < 0:
            raise ValueError(f"position {first} is under the snapshot at {self.base}")
        dropped = tuple(self._records[index:])
        del self._records[index:]
        self.last = self._end()
        while self._changes[-1][0] >= first:
            self._changes.pop()
        return dropped

    def compact(self, position: int) -> None:
        """Forget the records up to ``position``: a snapshot covers them."""
        base = self.mark(position)
        voters = next(voters for at, voters in reversed(self._changes) if at <= position)
        del self._records[: position - self.base.position]
        self.base = base
        self._changes = [(position, voters), *(change for change in self._changes if change[0] > position)]

    def reset(self, base: Mark = EMPTY, voters: VoterSet = ()) -> None:
        """Start again from a snapshot, or from nothing."""
        self.base = self.last = base
        self._records.clear()
        self._changes = [(base.position, voters)]

    @property
    def base_voters(self) -> VoterSet:
        """The voters as the snapshot at ``base`` knows them."""
        return self._changes[0][1]

    def _end(self) -> Mark:
        if not self._records:
            return self.base
        record = self._records[-1]
        return Mark(record.epoch, record.position)
