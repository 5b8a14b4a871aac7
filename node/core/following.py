"""The side of a log-holder that takes the master's records."""

from __future__ import annotations

from node.core.failover import Witness
from node.core.journal import Journal
from node.core.voting_events import FetchSnapshot
from proto.voting import (
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

    def __init__(self, node: str, journal: Journal, witness: Witness, now: float, limit: float) -> None:
        self._node = node
        self._journal = journal
        self._witness = witness
        self._limit = limit
        self._heard = now - limit
        self._echo = 0.0
        self.epoch = NO_EPOCH
        self.master = ""
        self.matched = 0
        """Up to here the own log equals the master's."""
        self._answered = 0
        self._told = 0
        """The commit position, as it is on disk, that the master was told."""

    def begin(self, epoch: Epoch) -> None:
        """Follow the master of this epoch."""
        if epoch != self.epoch:
            self.matched = self._answered = self._told = 0
            self._echo = 0.0
        self.epoch, self.master = epoch, epoch.node

    def stop(self) -> None:
        """Nobody is followed until the next master speaks."""
        self.master = ""

    def hears_master(self, now: float) -> bool:
        """Whether the master spoke within the suspect limit and is not proven dead."""
        recent = now - self._heard < self._limit
        return bool(self.master) and recent and not self._witness.is_dead(self.master)

    def on_append(self, message: AppendEntries, now: float) -> None:
        """Records or a ping of the followed master: take them and answer."""
        self._heard = now
        self._echo = max(self._echo, message.stamp)
        if message.echo > 0:
            self._witness.take_lease(self.master, message.epoch, message.echo, message.commit)
        hint = self._take(message)
        if hint is None:
            self._answer(now)
        else:
            self._journal.send(self.master, self.refusal(message, hint, now))

    def on_snapshot(self, message: InstallSnapshot, now: float) -> None:
        """The master no longer has what this log lacks."""
        self._heard = now
        self._echo = max(self._echo, message.stamp)
        if self._wants(message):
            self._journal.tell(FetchSnapshot(node=self.master, upto=message.upto))
        else:
            self._answer(now)

    def written(self, now: float) -> None:
        """Tell the master if more is on disk than it was told."""
        if self.master and (self.stored > self._answered or self._remembered > self._told):
            self._answer(now)

    @property
    def _remembered(self) -> int:
        return min(self._journal.remembered, self.stored)

    @property
    def stored(self) -> int:
        return min(self.matched, self._journal.durable)

    def _take(self, message: AppendEntries) -> int | None:
        """Take the records. None: they fit; else the highest position that may still match."""
        journal, log, previous = self._journal, self._journal.log, message.previous
        if log.base.epoch < message.epoch and log.base.position > message.last:
            self._part()
        if previous.position > log.last.position:
            return log.last.position
        if previous.position < log.base.position:
            return log.base.position
        if log.epoch_at(previous.position) != previous.epoch:
            if previous.position > log.base.position:
                return log.before_epoch_at(previous.position)
            self._part()
            if previous != EMPTY:
                return 0
        for index, record in enumerate(message.records):
            if log.epoch_at(record.position) == record.epoch:
                continue
            if record.position <= journal.final:
                self._part(record.position)
                return 0
            if record.position <= log.last.position:
                journal.truncate(record.position)
            for new in message.records[index:]:
                journal.append(new)
            break
        self.matched = max(self.matched, previous.position + len(message.records))
        journal.commit = max(journal.commit, min(message.commit, self.matched))
        return None

    def _wants(self, message: InstallSnapshot) -> bool:
        """Whether the snapshot has something that this log lacks."""
        log = self._journal.log
        if log.base.epoch < message.epoch and log.base.position > message.last:
            self._part()
        if log.epoch_at(message.upto.position) == message.upto.epoch:
            self.matched = max(self.matched, message.upto.position)
            return False
        return message.upto.position >= log.base.position

    def install(self, upto: Mark, voters: tuple[str, ...]) -> bool:
        """Take a fetched snapshot. False if the log has gone past it meanwhile."""
        journal, log = self._journal, self._journal.log
        if upto.position < log.base.position or log.epoch_at(upto.position) == upto.epoch:
            return False
        # The only voter of its own last set gave nobody its vote: what it committed is in no other log.
        if journal.final >= upto.position or log.voters == (self._node,):
            self._part()
        journal.install(upto, voters)
        self.matched = max(self.matched, upto.position)
        return True

    def _part(self, first: int = 1) -> None:
        self._journal.part(first)
        self.matched = self._answered = self._told = 0

    def _answer(self, now: float) -> None:
        self._answered, self._told = self.stored, self._remembered
        answer = AppendAnswer(
            epoch=self.epoch,
            following=self.epoch,
            counter=self._journal.counter,
            accepted=True,
            stored=self._answered,
            commit=self._told,
            stamp=now,
            echo=self._echo,
        )
        self._journal.send(self.master, answer)

    def refusal(self, message: AppendEntries | InstallSnapshot, hint: int, now: float) -> AppendAnswer:
        """The epoch is stale, or the records do not follow what is here."""
        return AppendAnswer(
            epoch=message.epoch,
            following=self.epoch,
            counter=self._journal.counter,
            accepted=False,
            previous=message.previous.position if isinstance(message, AppendEntries) else 0,
            hint=hint,
            anew=self._journal.log.last == EMPTY,
            stamp=now,
            echo=message.stamp,
        )
