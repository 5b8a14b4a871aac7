"""One node's share of the log: what it takes, what it tells, what it knows.

``Replica.handle(event, now)`` is the only entrance. ``now`` is CLOCK_BOOTTIME in seconds: the lease
of two voters must count the time a machine slept.
"""

from __future__ import annotations

from node.core.failover import Witness
from node.core.journal import Journal
from node.core.roles import Roles
from node.core.timing import Timing
from node.core.voting_events import (
    Append,
    Commit,
    Compacted,
    Leave,
    PeerDied,
    PeerUp,
    Persisted,
    Placed,
    Received,
    Refused,
    ReplicaEffect,
    ReplicaEvent,
    Rival,
    Roster,
    Saved,
    SnapshotFetched,
    Tick,
    VotersChanged,
)
from node.core.voting_log import VoterSet
from proto.voting import (
    AppendAnswer,
    AppendEntries,
    Epoch,
    Evidence,
    InstallSnapshot,
    LeaveVoters,
    PreVote,
    Resigned,
    Vote,
    VoteAnswer,
)


class Replica:
    """The log-holder of one node. A node that holds no log only waits to be given one."""

    def __init__(self, node: str, saved: Saved, timing: Timing, now: float) -> None:
        self.node = node
        self.journal = Journal(saved)
        self._witness = Witness(timing, now)
        self._roles = Roles(node, self.journal, self._witness, timing, now)
        self._timing = timing
        self._told = self.journal.log.base.position

    # --- what the shell may ask ---------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The highest epoch this node follows or reigns in."""
        return self._roles.epoch

    @property
    def master(self) -> str:
        """The node this one believes to be master; empty if none."""
        return self._roles.master

    @property
    def voters(self) -> VoterSet:
        """The newest set of voters in the log, committed or not."""
        return self.journal.log.voters

    @property
    def required(self) -> tuple[VoterSet, ...]:
        """The sets whose majorities must agree now."""
        return self.journal.log.required(self.journal.commit)

    @property
    def commit(self) -> int:
        """The last position that was told to be committed."""
        return self._told

    @property
    def acting(self) -> bool:
        """Master, and the first record of its epoch is committed."""
        mastery = self._roles.mastery
        return mastery is not None and mastery.announced

    @property
    def settled(self) -> bool:
        """Acting master, and a majority of the newest voters knows that they are voters."""
        mastery = self._roles.mastery
        return mastery is not None and mastery.announced and mastery.settled()

    @property
    def isolated(self) -> bool:
        """What ``Isolation`` told last, or would have told before the reign was announced."""
        mastery = self._roles.mastery
        return mastery is not None and mastery.isolated

    def serving(self, now: float) -> bool:
        """Whether this node may answer reads: acting master with a majority in contact."""
        mastery = self._roles.mastery
        return mastery is not None and mastery.announced and mastery.serving(now)

    def believes_dead(self, node: str) -> bool:
        """Whether there is evidence against the newest process of the node that is known."""
        return self._witness.is_dead(node)

    def next_deadline(self) -> float | None:
        """When to post the next ``Tick``."""
        return self._roles.next_deadline()

    # --- the entrance -------------------------------------------------------------------------

    def handle(self, event: ReplicaEvent, now: float) -> list[ReplicaEffect]:
        """Everything that follows from one event, in the order in which it must be done."""
        roles = self._roles
        deadline = roles.next_deadline()
        if deadline is not None and now - deadline > self._timing.suspect / 2:
            roles.overslept(now)
        match event:
            case Received():
                if self._witness.hear(event.node, event.incarnation, now):
                    self._received(event, now)
            case Persisted():
                self.journal.persisted(event.number)
                roles.written(now)
            case Tick():
                roles.tick(now)
            case Append():
                self._append(event, now)
            case PeerDied():
                roles.died(event.node, event.incarnation, now, report=True)
            case PeerUp():
                roles.came_up(event.node, event.incarnation, now)
            case Rival():
                roles.met(event.node, now)
            case Roster():
                if roles.mastery is not None:
                    roles.mastery.council.roster(event.nodes, event.replicas)
            case SnapshotFetched():
                roles.snapshot_fetched(event.upto, event.voters, now)
            case Compacted():
                if self.journal.log.base.position < event.position <= self._told:
                    self.journal.log.compact(event.position)
            case Leave():
                roles.leave(event.incarnation)
        self._tell_commits(now)
        return self.journal.drain()

    def _received(self, event: Received, now: float) -> None:
        node, message, roles = event.node, event.message, self._roles
        match message:
            case AppendEntries() | InstallSnapshot():
                if message.epoch.node == node:
                    roles.on_append(message, now)
            case AppendAnswer():
                roles.on_append_answer(node, message, now)
            case PreVote() | Vote():
                roles.on_vote_request(node, message, now)
            case VoteAnswer():
                roles.on_vote_answer(node, message, now)
            case Evidence():
                roles.died(message.node, message.incarnation, now, report=False)
            case Resigned():
                roles.on_resigned(message, now)
            case LeaveVoters():
                if roles.mastery is not None:
                    roles.mastery.council.leaves(node, event.incarnation)

    def _append(self, event: Append, now: float) -> None:
        mastery = self._roles.mastery
        if mastery is None or not mastery.announced or mastery.retiring:
            self.journal.tell(Refused(ticket=event.ticket, hint=self.master))
            return
        first, last = mastery.append(event.payloads, now)
        self.journal.tell(Placed(ticket=event.ticket, first=first, last=last))

    def _tell_commits(self, now: float) -> None:
        """Tell what is committed and on this disk, once; then what follows from it."""
        journal = self.journal
        if journal.commit < self._told or self._told < journal.log.base.position:
            # Cut by another history, or replaced by a snapshot.
            self._told = max(min(journal.commit, self._told), journal.log.base.position)
        upto = min(journal.commit, journal.durable)
        if upto <= self._told:
            return
        records = journal.log.slice(self._told + 1, upto)
        changes = journal.log.changes(self._told + 1, upto)
        self._told = upto
        journal.tell(Commit(upto=upto, records=records))
        for voters in changes:
            journal.remember()
            journal.tell(VotersChanged(voters=voters))
        self._roles.committed(upto, now)
        mastery = self._roles.mastery
        if mastery is not None and changes:
            # Until they know of it, new voters could not go on without this node.
            mastery.heartbeat(now)

    def validate(self) -> None:
        """Raises AssertionError, with the story, if the replica contradicts itself."""
        journal, log = self.journal, self.journal.log
        assert log.base.position <= self._told <= log.last.position, self.story()
        assert self._told <= journal.durable or self._told == log.base.position, self.story()
        assert journal.commit <= log.last.position, self.story()
        assert log.last.epoch.counter <= journal.counter, self.story()
        self._roles.validate()

    def story(self) -> str:
        """One line for people: role, epoch, log, voters."""
        journal = self.journal
        return (
            f"{self.node}: {self._roles.describe()}; log {journal.log.base}..{journal.log.last}, "
            f"on disk to #{journal.durable}, committed to #{journal.commit} (told #{self._told}); "
            f"counter {journal.counter}, voted {journal.voted or 'nobody'}; "
            f"voters {' '.join(journal.log.voters) or 'none'}"
        )
