"""The side of a log-holder that is master: who has what, what is committed, who votes next."""

from __future__ import annotations

from collections.abc import Set

from node.core import voters as rules
from node.core.council import Council
from node.core.failover import Witness
from node.core.journal import Journal
from node.core.peers import Peers
from node.core.timing import Timing
from node.core.voting_log import VoterSet
from proto.voting import AppendAnswer, Epoch, LogRecord

READY_LAG = 200
"""A node this close to the end of the log is caught up: it may become a voter."""


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
        self.again = journal.log.last.epoch.node == epoch.node
        self.announced = False
        self.isolated = False
        self.deadline = now
        self._settled_at = 0
        """The voters record that a majority of its voters is known to know of; that stays so."""
        self._journal = journal
        self._witness = witness
        self._timing = timing
        self._began = now
        self._standing_in: frozenset[str] = standing_in
        self._standing_upto = journal.log.last.position + 1
        self._peers = Peers(epoch, journal, witness)
        self.council = Council(epoch.node, witness)
        self._followed_by: tuple[object, ...] = ()
        """What followed from it whom to send to, the last time that was looked at."""
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
        node = self.epoch.node
        if rules.agreed(self._required(), {node}, node, self._standing_in):
            # Not for mere evidence: should the other voter turn out to live, it must agree as well.
            self._journal.commits_when_written()
        self._follow()
        self._peers.send_new(now)

    def advance(self) -> None:
        """Commit what a majority of every required set has on disk, if it reaches into this epoch."""
        journal = self._journal
        stored = self._peers.stored()
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
        required = self._required()
        proven = {other for other in rules.partners(required, node) if self._witness.master_stands_in(other)}
        return rules.agreed(required, yes, node, self._standing_in | proven)

    def _required(self) -> tuple[VoterSet, ...]:
        return self._journal.log.required(self._journal.commit)

    # --- peers --------------------------------------------------------------------------------

    def _follow(self) -> None:
        required, newest = self._required(), self._journal.log.voters
        by = (required, newest, self.council.version, *self._peers.returning)
        if by != self._followed_by:
            self._followed_by = by
            voters = {node for members in required for node in members}
            self._peers.follow(voters.union(self.council.learners(newest)))

    def heartbeat(self, now: float) -> None:
        """Ping every peer, with what it lacks."""
        self.deadline = now + self._timing.ping
        self.reconsider(now)
        self._follow()
        self._peers.ping(now)

    def answered(self, node: str, message: AppendAnswer, now: float) -> None:
        """A peer's answer of this epoch."""
        self._peers.answered(node, message, now)
        self.advance()

    def asked_for_vote(self, node: str, now: float) -> None:
        """It does not hear this master: speak to it."""
        self._peers.probe(node, now)

    # --- voters -------------------------------------------------------------------------------

    def reconsider(self, now: float) -> None:
        """Change the voters by one, if that is due and the change before is committed."""
        journal = self._journal
        if self.retiring or journal.commit < max(self.first, journal.log.voters_position):
            return
        ready = self._peers.in_contact(now - self._timing.suspect, READY_LAG)
        change = self.council.proposal(journal.log.voters, ready)
        node = self.epoch.node
        if change is None or not rules.agreed((change,), ready | {node}):
            # A set that cannot commit now would bind the log to nodes that may never return.
            return
        required = self._required()
        dropped = set(journal.log.voters) - set(change)
        self._standing_in = frozenset(
            other for other in rules.partners(required, node) & dropped if self._witness.is_dead(other)
        )
        self._standing_upto = journal.log.last.position + 1
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
        return rules.agreed((log.voters,), self._peers.told(log.voters_position))

    def settled(self) -> bool:
        """Whether a majority of the newest voters knows that they are: they could replace this node."""
        position = self._journal.log.voters_position
        if self._settled_at != position:
            knowing = self._peers.told(position)
            if self._journal.remembered >= position:
                knowing.add(self.epoch.node)
            if rules.agreed((self._journal.log.voters,), knowing):
                self._settled_at = position
        return self._settled_at == position

    # --- contact ------------------------------------------------------------------------------

    def serving(self, now: float) -> bool:
        """Whether a majority answered appends that were sent within the suspect limit."""
        limit = now - self._timing.suspect
        if not self.announced:
            # Elected a moment ago: the voters have not had the time to answer an append.
            return self._began >= limit
        return self._agreed(self._peers.in_contact(limit) | {self.epoch.node})

    def lost_partners(self, now: float) -> frozenset[str]:
        """Those whose silence lasts 2L, if without them this node could be elected; else nobody."""
        node = self.epoch.node
        required = self._required()
        silent = {
            other
            for other in rules.partners(required, node)
            if other not in self._standing_in
            and not self._witness.is_dead(other)
            and self._witness.master_goes_alone(other, now)
        }
        if not silent:
            return frozenset()
        heard = self._peers.silent_for_less(self._timing.suspect, now)
        standing = frozenset(silent | {n for n in rules.partners(required, node) if self._witness.is_dead(n)})
        return standing if rules.agreed(required, heard | {node}, node, standing) else frozenset()

    def describe(self) -> str:
        return f"master of {self.epoch} since #{self.first} with {self._peers.describe() or 'nobody else'}"
