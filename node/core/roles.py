"""Follower, candidate or master: how a replica goes from one to the other, never two at once."""

from __future__ import annotations

from node.core.election import Campaign, judge
from node.core.failover import Witness
from node.core.following import Following
from node.core.journal import Journal
from node.core.mastery import Mastery
from node.core.timing import Timing
from node.core.voters import partners
from node.core.voting_events import BecomeMaster, FetchSnapshot, Isolation, StepDown
from node.core.voting_messages import (
    AppendAnswer,
    AppendEntries,
    Epoch,
    Evidence,
    InstallSnapshot,
    LeaveVoters,
    Mark,
    PreVote,
    Resigned,
    Vote,
    VoteAnswer,
)


class Roles:
    """The role of one replica and its transitions."""

    def __init__(self, node: str, journal: Journal, witness: Witness, timing: Timing, now: float) -> None:
        self.node = node
        self.epoch = journal.log.last.epoch
        self.mastery: Mastery | None = None
        self._campaign: Campaign | None = None
        self._journal = journal
        self._witness = witness
        self._timing = timing
        self._following = Following(journal)
        self._master_heard = now - timing.suspect
        self._last_stamp = 0.0
        self._leaving = False
        self._election_at: float | None = None
        self._wait(now, 0.0 if self._only_voter() else timing.ping)

    @property
    def master(self) -> str:
        return self.node if self.mastery is not None else self._following.master

    def next_deadline(self) -> float | None:
        if self.mastery is not None:
            return self.mastery.deadline
        if self._campaign is not None:
            return self._campaign.deadline
        return self._election_at

    # --- time ---------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self.mastery is not None:
            self._reign(self.mastery, now)
            return
        self._campaign = None
        self._stand(now, self._substitutes(now))

    def overslept(self, now: float) -> None:
        """This process was paused: first listen, then suspect."""
        self._witness.overslept(now)
        if self.mastery is None and self._following.master:
            self._campaign = None
            self._wait(now, self._timing.suspect)

    def _reign(self, mastery: Mastery, now: float) -> None:
        lost = mastery.lost_partners(now)
        if lost:
            # Only a new epoch may count without the other voter: its ids must not collide with ours.
            self._step_down(now, f"going on without {' '.join(sorted(lost))}")
            self._stand(now, lost)
            return
        mastery.heartbeat(now)
        isolated = not mastery.serving(now)
        if isolated != mastery.isolated:
            mastery.isolated = isolated
            if mastery.announced:
                self._journal.tell(Isolation(isolated=isolated))

    def _wait(self, now: float, seconds: float) -> None:
        """Stand for election after ``seconds``, later by this voter's place in the order."""
        required = self._required()
        if not any(self.node in voters for voters in required):
            self._election_at = None
            return
        newest = self._journal.log.voters
        rank = newest.index(self.node) if self.node in newest else len(newest)
        self._election_at = now + seconds + rank * self._timing.stagger

    def _required(self) -> tuple[tuple[str, ...], ...]:
        return self._journal.log.required(self._journal.commit)

    def _only_voter(self) -> bool:
        return self._required() == ((self.node,),)

    # --- election -----------------------------------------------------------------------------

    def _substitutes(self, now: float) -> frozenset[str]:
        journal, epoch = self._journal, self.epoch
        return frozenset(
            other
            for other in partners(self._required(), self.node)
            if self._witness.backup_stands_in(other, epoch, journal.durable, now)
        )

    def _stand(self, now: float, standing_in: frozenset[str]) -> None:
        self._wait(now, 0.0)
        if self._election_at is None:
            return
        self._following.stop()
        # Odd spacing by rank: two candidates that split the vote once do not meet again.
        patience = self._timing.suspect / 2 + 1.4 * (self._election_at - now)
        epoch = Epoch(self._journal.counter + 1, self.node)
        self._campaign = Campaign(self.node, epoch, standing_in, now + patience)
        self._canvass(self._campaign, now)

    def _canvass(self, campaign: Campaign, now: float) -> None:
        """Ask; and go on at once if nobody else is needed."""
        if not campaign.binding and campaign.won(self._required()):
            campaign.bind(self._journal)
        request = campaign.request(self._journal)
        others = {node for voters in self._required() for node in voters} - {self.node}
        for node in sorted(others - campaign.standing_in):
            self._journal.send(node, request)

    def on_vote_request(self, node: str, message: PreVote | Vote, now: float) -> None:
        before = self._journal.counter, self._journal.voted
        answer = judge(self._journal, message, hears_master=self._hears_master(now))
        self._journal.send(node, answer)
        if (self._journal.counter, self._journal.voted) != before:
            self._yield_to(now, f"{node} stands in {message.epoch}")
            if answer.granted:
                self._wait(now, self._timing.suspect)
        if self.mastery is not None:
            self.mastery.asked_for_vote(node, now)

    def _hears_master(self, now: float) -> bool:
        if self.mastery is not None:
            return self.mastery.serving(now)
        master = self._following.master
        recent = now - self._master_heard < self._timing.suspect
        return bool(master) and recent and not self._witness.is_dead(master)

    def on_vote_answer(self, node: str, message: VoteAnswer, now: float) -> None:
        campaign = self._campaign
        if message.counter > self._journal.counter:
            self._journal.raise_counter(message.counter)
            self._yield_to(now, f"{node} knows counter {message.counter}")
            return
        if (
            campaign is None
            or not message.granted
            or (message.epoch, message.binding) != (campaign.epoch, campaign.binding)
        ):
            return
        campaign.yes.add(node)
        if campaign.binding:
            self._maybe_reign(campaign, now)
        elif campaign.won(self._required()):
            self._canvass(campaign, now)

    def written(self, now: float) -> None:
        """Something reached the disk: a vote for oneself counts now, and so do records."""
        campaign, journal = self._campaign, self._journal
        if campaign is not None and campaign.binding and journal.ballot_written:
            campaign.yes.add(self.node)
            self._maybe_reign(campaign, now)
        elif self.mastery is not None:
            self.mastery.advance()
        elif self._following.master and self._following.stored > self._following.answered:
            answer = self._following.answer(self._following.epoch, now, self._last_stamp)
            journal.send(self._following.master, answer)

    def _maybe_reign(self, campaign: Campaign, now: float) -> None:
        if not campaign.won(self._required()):
            return
        self._campaign = None
        self.epoch = campaign.epoch
        self.mastery = Mastery(
            campaign.epoch, self._journal, self._witness, self._timing, campaign.standing_in, now
        )

    def committed(self, upto: int, now: float) -> None:
        """The commit position moved: the reign may begin, or be over for a node that left."""
        mastery = self.mastery
        if mastery is None or upto < mastery.first:
            return
        if not mastery.announced:
            mastery.announced = True
            self._journal.tell(BecomeMaster(epoch=mastery.epoch, alone=mastery.alone))
        if all(self.node not in voters for voters in self._required()):
            mastery.heartbeat(now)
            for node in self._journal.log.voters:
                self._journal.send(node, Resigned(epoch=mastery.epoch))
            self._step_down(now, "left the voters")

    def _yield_to(self, now: float, reason: str) -> None:
        """A higher counter exists: be master or candidate no more."""
        self._campaign = None
        if self.mastery is not None:
            self._step_down(now, reason)
        self._wait(now, self._timing.ping)

    def _step_down(self, now: float, reason: str) -> None:
        mastery = self.mastery
        if mastery is None:
            return
        self.mastery = None
        if mastery.announced:
            self._journal.tell(StepDown(epoch=mastery.epoch, reason=reason))
        self._following.stop()
        self._wait(now, self._timing.ping)
