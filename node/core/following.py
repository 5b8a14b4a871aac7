"""The side of a log-holder that takes the master's records."""

from __future__ import annotations

from node.core.journal import Journal
from node.core.voting_messages import (
    EMPTY,
    NO_EPOCH,
    AppendAnswer,
    AppendEntries,
    Epoch,
    InstallSnapshot,
    Mark,
)


class Following:
    """Agreement with one master's log within one epoch."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.epoch = NO_EPOCH
        self.master = ""
        self.matched = 0
        """Up to here the own log equals the master's."""
        self.answered = 0
        """What the master was last told to be stored."""

    def begin(self, epoch: Epoch) -> None:
        self.epoch, self.master = epoch, epoch.node
        self.matched = self.answered = 0

    def stop(self) -> None:
        """Nobody is followed until the next master speaks."""
        self.master = ""

    @property
    def stored(self) -> int:
        return min(self.matched, self._journal.durable)

    def take(self, message: AppendEntries) -> int | None:
        """Take the records. None: they fit; else the highest position that may still match."""
        journal, log, previous = self._journal, self._journal.log, message.previous
        if log.base.epoch != message.epoch and log.base.position > message.last:
            journal.reset()
        if previous.position > log.last.position:
            return log.last.position
        if previous.position < log.base.position:
            return log.base.position
        if log.epoch_at(previous.position) != previous.epoch:
            if previous.position > log.base.position:
                return log.before_epoch_at(previous.position)
            journal.reset()
            if previous != EMPTY:
                return 0
        for index, record in enumerate(message.records):
            if log.epoch_at(record.position) == record.epoch:
                continue
            if record.position <= log.last.position:
                journal.truncate(record.position)
            for new in message.records[index:]:
                journal.append(new)
            break
        self.matched = max(self.matched, previous.position + len(message.records))
        journal.commit = max(journal.commit, min(message.commit, self.matched))
        return None

    def wants(self, message: InstallSnapshot) -> bool:
        """Whether the snapshot has something that this log lacks."""
        log = self._journal.log
        if log.base.epoch != message.epoch and log.base.position > message.last:
            self._journal.reset()
        if log.epoch_at(message.upto.position) == message.upto.epoch:
            self.matched = max(self.matched, message.upto.position)
            return False
        return message.upto.position >= log.base.position

    def install(self, upto: Mark, voters: tuple[str, ...]) -> bool:
        """Take a fetched snapshot. False if the log has gone past it meanwhile."""
        journal, log = self._journal, self._journal.log
        if upto.position < log.base.position or log.epoch_at(upto.position) == upto.epoch:
            return False
        journal.install(upto, voters, lost_committed=journal.commit >= upto.position)
        self.matched = max(self.matched, upto.position)
        return True

    def answer(self, epoch: Epoch, now: float, echo: float) -> AppendAnswer:
        """The records fit."""
        self.answered = self.stored
        return AppendAnswer(
            epoch=epoch,
            following=self.epoch,
            counter=self._journal.counter,
            accepted=True,
            stored=self.answered,
            stamp=now,
            echo=echo,
        )

    def refuse(self, message: AppendEntries, hint: int, now: float) -> AppendAnswer:
        """The epoch is stale, or the records do not follow what is here."""
        return AppendAnswer(
            epoch=message.epoch,
            following=self.epoch,
            counter=self._journal.counter,
            accepted=False,
            previous=message.previous.position,
            hint=hint,
            stamp=now,
            echo=message.stamp,
        )
