"""What a replica has on its disk or on the way there, and the one ordering rule about it.

Nothing that relies on a counter or a vote leaves the node before both are on disk. Records may be
sent before they are on this disk, but are counted here only once ``Persisted`` says so.
"""

from __future__ import annotations

from collections import deque

from node.core.voting_events import Persist, ReplicaEffect, Saved, Send, TruncateTail
from node.core.voting_log import Log, VoterSet
from proto.voting import EMPTY, LogRecord, Mark, VotingMessage


class Journal:
    """Counter, vote and log of one replica. Changes gather until ``drain`` turns them into effects."""

    def __init__(self, saved: Saved) -> None:
        self.log = Log(saved.base, saved.base_voters, saved.records)
        # A record of an epoch is proof that its counter was seen, even if the counter was not written.
        self.counter = max(saved.counter, self.log.last.epoch.counter)
        self.voted = saved.voted if self.counter == saved.counter else ""
        self.commit = max(saved.base.position, min(saved.commit, self.log.last.position))
        self.durable = self.log.last.position
        """Everything of the present log up to this position is on disk."""
        self.remembered = self.commit
        """Up to here a process that starts on this disk knows that the log is committed."""
        self._number = 0
        self._written = 0
        self._ballot_number = 0
        self._ballot_changed = False
        self._pending: deque[list[int]] = deque()
        self._held: deque[tuple[int, Send]] = deque()
        self._effects: list[ReplicaEffect] = []
        self._early: list[ReplicaEffect] = []
        self._records: list[LogRecord] = []
        self._truncate: int | None = None
        self._snapshot: tuple[Mark, VoterSet] | None = None
        self._commit_with_records = 0
        self._final = 0
        self._remember = False

    # --- changes ------------------------------------------------------------------------------

    def raise_counter(self, counter: int, voted: str = "") -> None:
        """Go to a higher counter, or vote in the present one where no vote was given.

        Raises:
            ValueError: this would go back, or vote twice in one counter.
        """
        if counter < self.counter or (counter == self.counter and self.voted not in ("", voted)):
            raise ValueError(f"vote for {voted!r} in {counter} after {self.voted!r} in {self.counter}")
        if (counter, voted) != (self.counter, self.voted):
            self.counter, self.voted = counter, voted
            self._ballot_changed = True

    def append(self, record: LogRecord) -> None:
        self.log.append(record)
        self._records.append(record)

    def commits_when_written(self) -> None:
        """Nobody else has to agree to what was appended: the disk may call it committed."""
        self._commit_with_records = self._final = self.log.last.position

    @property
    def final(self) -> int:
        """Up to here the log is committed, or will be called so by a process that starts on this disk."""
        return max(self.commit, self._final)

    def remember(self) -> None:
        """Write the commit position now: a set of voters became history, and nobody in it will be asked."""
        self._remember = self.commit > self.remembered

    def truncate(self, first: int) -> None:
        """Drop ``first`` and all after it, none of it committed; says so before the ``Persist``."""
        dropped = self.log.truncate(first)
        self._early.append(TruncateTail(truncate_from=first, records=dropped, committed=False))
        self._clip(first - 1)
        self._truncate = first

    def install(self, upto: Mark, voters: VoterSet) -> None:
        """Replace everything by the snapshot at ``upto`` (``EMPTY``: by nothing)."""
        self.log.reset(upto, voters)
        self._snapshot = (upto, voters)
        self.commit = upto.position
        self.durable = self.remembered = self._final = 0
        for entry in self._pending:
            entry[1] = entry[2] = 0
        self._records.clear()
        self._truncate = None

    def part(self, first: int = 1) -> None:
        """Another history won (two voters, a forged close): begin again with nothing, and hand over what was
        committed here. The two have nothing in common from ``first`` on, at the latest."""
        dropped = self.log.slice(first, self.log.last.position)
        self._early.append(TruncateTail(truncate_from=first, records=dropped, committed=True))
        self.install(EMPTY, ())

    def _clip(self, last: int) -> None:
        self.durable = min(self.durable, last)
        self.commit = min(self.commit, last)
        self.remembered = min(self.remembered, last)
        self._final = min(self._final, last)
        for entry in self._pending:
            entry[1], entry[2] = min(entry[1], last), min(entry[2], last)

    @property
    def ballot_written(self) -> bool:
        """Whether the present counter and vote are on disk."""
        return not self._ballot_changed and self._ballot_number <= self._written

    # --- effects ------------------------------------------------------------------------------

    def send(self, node: str, message: VotingMessage) -> None:
        """Send, but not before the counter and the vote it may rely on are on disk."""
        self._effects.append(Send(node=node, message=message))

    def tell(self, effect: ReplicaEffect) -> None:
        self._effects.append(effect)

    def persisted(self, number: int) -> None:
        """The disk has everything up to this ``Persist``; what waited for it may leave now."""
        self._written = max(self._written, number)
        while self._pending and self._pending[0][0] <= number:
            _, last, commit = self._pending.popleft()
            self.durable, self.remembered = max(self.durable, last), max(self.remembered, commit)
        while self._held and self._held[0][0] <= number:
            self._effects.append(self._held.popleft()[1])

    def drain(self) -> list[ReplicaEffect]:
        """The effects since the last call, in the order in which they must be carried out."""
        effects: list[ReplicaEffect] = self._early
        changed = self._records or self._ballot_changed or self._remember
        if changed or self._truncate is not None or self._snapshot is not None:
            self._number += 1
            snapshot, voters = self._snapshot or (None, ())
            effects.append(
                Persist(
                    number=self._number,
                    counter=self.counter,
                    voted=self.voted,
                    commit=max(self.commit, self._commit_with_records),
                    snapshot=snapshot,
                    snapshot_voters=voters,
                    truncate_from=self._truncate,
                    records=tuple(self._records),
                )
            )
            # What is committed only once it is written does not count for others before.
            self._pending.append([self._number, self.log.last.position, self.commit])
            self._remember = False
            if self._ballot_changed:
                self._ballot_number = self._number
            self._records, self._truncate, self._snapshot = [], None, None
            self._ballot_changed, self._commit_with_records = False, 0
        if self._ballot_number > self._written:
            for effect in self._effects:
                if isinstance(effect, Send):
                    self._held.append((self._ballot_number, effect))
                else:
                    effects.append(effect)
        else:
            effects += self._effects
        self._effects, self._early = [], []
        return effects
