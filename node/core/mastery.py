"""The side of a log-holder that is master: who has what, what is committed, who votes next."""

from __future__ import annotations

from collections.abc import Set

from msgspec import Struct

from node.core import voters as rules
from node.core.council import Council
from node.core.failover import Witness
from node.core.journal import Journal
from node.core.timing import Timing
from node.core.voting_messages import (
    AppendAnswer,
    AppendEntries,
    Epoch,
    InstallSnapshot,
    LogRecord,
)

IN_FLIGHT = 2_000
"""Records sent to one peer and not yet answered for; the rest waits for the answer."""
READY_LAG = 200
"""A node this close to the end of the log is caught up: it may become a voter."""


class Progress(Struct, kw_only=True):
    """One peer's log as the master knows it."""

    next: int
    """The next position to send."""
    stored: int = 0
    probing: bool = True
    """The end of its log is not known: one message at a time, one for each answer."""
    contact: float = -1.0
    """When the newest append that it answered was sent, on this node's clock."""
    stamp: float = 0.0
    """The newest stamp of its own, to be echoed."""
    knows: int = 0
    """The commit position it was told and has answered for."""


class Mastery:
    """One reign. Appends go out at once; an answer or a write moves the commit position."""

    def __init__(
        self,
        epoch: Epoch,
        journal: Journal,
        witness: Witness,
        timing: Timing,
        standing_in: frozenset[str],
        now: float,
    ) -> None:
        self.epoch = epoch
        self.alone = bool(standing_in)
        self.announced = False
        self.isolated = False
        self.deadline = now
        self._journal = journal
        self._witness = witness
        self._timing = timing
        self._began = now
        self._standing_in: frozenset[str] = standing_in
        self._standing_upto = journal.log.last.position + 1
        self._peers: dict[str, Progress] = {}
        self._returning: set[str] = set()
        self.council = Council(epoch.node, witness)
        self.first = journal.log.last.position + 1
        staying = tuple(node for node in journal.log.voters if node not in standing_in)
        self._append_voters(staying, now)

    # --- the log ------------------------------------------------------------------------------

    def append(self, payloads: tuple[bytes, ...], now: float) -> tuple[int, int]:
        """Put payloads into the log and on their way; their first and last position."""
        log = self._journal.log
        first = log.last.position + 1
        for position, payload in enumerate(payloads, first):
            self._journal.append(LogRecord(self.epoch, position, payload))
        self._after_append(now)
        return first, log.last.position

    def _append_voters(self, voters: tuple[str, ...], now: float) -> None:
        self._journal.append(LogRecord(self.epoch, self._journal.log.last.position + 1, b"", voters))
        self._after_append(now)

    def _after_append(self, now: float) -> None:
        if self._agreed({self.epoch.node}):
            self._journal.commits_when_written()
        self._match_peers()
        for node, progress in self._peers.items():
            last = self._journal.log.last.position
            if not progress.probing and last - progress.stored <= IN_FLIGHT:
                self._send(node, progress, now)

    def advance(self) -> None:
        """Commit what a majority of every required set has on disk, if it reaches into this epoch."""
        journal = self._journal
        stored = {node: progress.stored for node, progress in self._peers.items()}
        stored[self.epoch.node] = journal.durable
        for position in sorted(set(stored.values()), reverse=True):
            if position < self.first or position <= journal.commit:
                return
            if self._agreed({node for node, upto in stored.items() if upto >= position}):
                journal.commit = position
                if position >= self._standing_upto:
                    self._standing_in = frozenset()
                return

    def _agreed(self, yes: Set[str]) -> bool:
        node = self.epoch.node
        required = self._journal.log.required(self._journal.commit)
        proven = {other for other in rules.partners(required, node) if self._witness.master_stands_in(other)}
        return rules.agreed(required, yes, node, self._standing_in | proven)

    # --- peers --------------------------------------------------------------------------------

    def _match_peers(self) -> None:
        """Follow the voters, the learners and those who return; forget the others."""
        log = self._journal.log
        wanted = {node for voters in log.required(self._journal.commit) for node in voters}
        wanted.update(self.council.learners(log.voters), self._returning)
        wanted.discard(self.epoch.node)
        for node in sorted(wanted - self._peers.keys()):
            self._peers[node] = Progress(next=log.last.position + 1)
        for node in self._peers.keys() - wanted:
            del self._peers[node]

    def heartbeat(self, now: float) -> None:
        """Ping every peer, with what it lacks."""
        self.deadline = now + self._timing.ping
        self.reconsider(now)
        self._match_peers()
        for node, progress in self._peers.items():
            self._send(node, progress, now)

    def _send(self, node: str, progress: Progress, now: float) -> None:
        journal, log = self._journal, self._journal.log
        if progress.next <= log.base.position:
            self._send_snapshot(node, now)
            return
        records = log.batch(progress.next)
        voter = node in log.voters and not self._witness.is_dead(node)
        journal.send(
            node,
            AppendEntries(
                epoch=self.epoch,
                previous=log.mark(progress.next - 1),
                records=records,
                commit=journal.commit,
                last=log.last.position,
                stamp=now,
                # A node outside the newest set, or proven dead, gets no lease: it must not take over.
                echo=progress.stamp if voter else 0.0,
            ),
        )
        if not progress.probing:
            progress.next += len(records)

    def _send_snapshot(self, node: str, now: float) -> None:
        log = self._journal.log
        self._journal.send(
            node,
            InstallSnapshot(
                epoch=self.epoch,
                upto=log.base,
                voters=log.base_voters,
                last=log.last.position,
                stamp=now,
            ),
        )

    def answered(self, node: str, message: AppendAnswer, now: float) -> None:
        """Take a peer's answer of this epoch, and send it what it still lacks."""
        progress = self._peers.get(node)
        if progress is None:
            return
        progress.contact = max(progress.contact, message.echo)
        progress.stamp = max(progress.stamp, message.stamp)
        last = self._journal.log.last.position
        if message.accepted:
            progress.knows = max(progress.knows, message.commit)
            progress.stored = max(progress.stored, message.stored)
            progress.next = max(progress.next, progress.stored + 1)
            progress.probing = False
            self.advance()
            if progress.stored >= last:
                self._returning.discard(node)
        elif message.previous > progress.stored and message.previous < progress.next:
            progress.probing = True
            progress.next = max(min(message.previous, message.hint + 1, last + 1), progress.stored + 1)
        elif message.hint >= message.previous == progress.next - 1:
            # Its snapshot reaches further than what it was sent.
            progress.probing = True
            progress.next = min(max(message.hint, progress.stored) + 1, last + 1)
        else:
            return
        # A snapshot goes with the heartbeat only: answers that call for one may come in numbers.
        if self._journal.log.base.position < progress.next <= last:
            self._send(node, progress, now)

    def asked_for_vote(self, node: str, now: float) -> None:
        """It does not hear this master, or has been away: bring it to the present."""
        if node not in self._peers:
            self._returning.add(node)
            self._match_peers()
        progress = self._peers[node]
        progress.probing = True
        progress.next = min(progress.next, self._journal.log.last.position + 1)
        self._send(node, progress, now)

    # --- voters -------------------------------------------------------------------------------

    def reconsider(self, now: float) -> None:
        """Change the voters by one, if that is due and the change before is committed."""
        journal = self._journal
        if self.retiring or journal.commit < max(self.first, journal.log.voters_position):
            return
        last = journal.log.last.position
        ready = {
            node
            for node, progress in self._peers.items()
            if last - progress.stored <= READY_LAG and now - progress.contact < self._timing.suspect
        }
        change = self.council.proposal(journal.log.voters, ready)
        node = self.epoch.node
        if change is None or not rules.agreed((change,), ready | {node}):
            # A set that cannot commit now would bind the log to nodes that may never return.
            return
        required = journal.log.required(journal.commit)
        dropped = set(journal.log.voters) - set(change)
        self._standing_in = frozenset(
            other for other in rules.partners(required, node) & dropped if self._witness.is_dead(other)
        )
        self._standing_upto = last + 1
        self._append_voters(change, now)

    @property
    def retiring(self) -> bool:
        """Left out of the newest set: it brings that to the others, and appends nothing more."""
        return self.epoch.node not in self._journal.log.voters

    def retired(self) -> bool:
        """Whether the set without this node is committed, and a majority of it knows.

        Before that the others might still need this node's vote, and it may exit when they do not.
        """
        log = self._journal.log
        if not self.retiring or self._journal.commit < log.voters_position:
            return False
        know = {node for node, progress in self._peers.items() if progress.knows >= log.voters_position}
        return rules.agreed((log.voters,), know)

    # --- contact ------------------------------------------------------------------------------

    def serving(self, now: float) -> bool:
        """Whether a majority answered appends that were sent within the suspect limit."""
        limit = now - self._timing.suspect
        if now - self._began < self._timing.suspect:
            return True
        heard = {node for node, progress in self._peers.items() if progress.contact >= limit}
        return self._agreed(heard | {self.epoch.node})

    def lost_partners(self, now: float) -> frozenset[str]:
        """Those whose silence lasts 2L, if without them this node could be elected; else nobody."""
        node = self.epoch.node
        required = self._journal.log.required(self._journal.commit)
        silent = {
            other
            for other in rules.partners(required, node)
            if other not in self._standing_in
            and not self._witness.is_dead(other)
            and self._witness.master_goes_alone(other, now)
        }
        if not silent:
            return frozenset()
        heard = {n for n in self._peers if self._witness.silence(n, now) < self._timing.suspect}
        standing = frozenset(silent | {n for n in rules.partners(required, node) if self._witness.is_dead(n)})
        return standing if rules.agreed(required, heard | {node}, node, standing) else frozenset()

    def describe(self) -> str:
        peers = ", ".join(f"{node}@{progress.stored}" for node, progress in sorted(self._peers.items()))
        return f"master of {self.epoch} since #{self.first} with {peers or 'nobody else'}"
