"""Follower, candidate or master: how a replica goes from one to the other, never two at once."""

from __future__ import annotations

import msgspec

from node.core.election import Campaign, Candidacy, judge
from node.core.failover import Witness
from node.core.following import Following
from node.core.journal import Journal
from node.core.mastery import Mastery
from node.core.timing import Timing
from node.core.voting_events import BecomeMaster, Isolation, StepDown
from proto.voting import (
    AppendAnswer,
    AppendEntries,
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
        self._journal = journal
        self._witness = witness
        self._timing = timing
        self._following = Following(node, journal, witness, now, timing.suspect)
        self._leaving = False
        self._candidacy = Candidacy(node, journal, witness, timing, now)

    @property
    def master(self) -> str:
        return self.node if self.mastery is not None else self._following.master

    def next_deadline(self) -> float | None:
        if self.mastery is not None:
            return self.mastery.deadline
        return self._candidacy.deadline

    # --- time ---------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return
        if self.mastery is not None:
            self._reign(self.mastery, now)
            return
        self._following.stop()
        self._candidacy.tick(now, self.epoch)

    def overslept(self, now: float) -> None:
        """This process was paused: first listen, then suspect."""
        self._witness.overslept(now)
        if self.mastery is None and self._following.master:
            self._candidacy.give_up()
            self._candidacy.wait(now, self._timing.suspect)

    def _reign(self, mastery: Mastery, now: float) -> None:
        lost = mastery.lost_partners(now)
        if lost:
            # Only a new epoch may count without the other voter: its ids must not collide with ours.
            self._step_down(now, f"going on without {' '.join(sorted(lost))}")
            self._candidacy.stand(now, lost)
            return
        mastery.heartbeat(now)
        isolated = not mastery.serving(now)
        if isolated != mastery.isolated:
            mastery.isolated = isolated
            if mastery.announced:
                self._journal.tell(Isolation(isolated=isolated))

    # --- election -----------------------------------------------------------------------------

    def on_vote_request(self, node: str, message: PreVote | Vote, now: float) -> None:
        before = self._journal.counter, self._journal.voted
        answer = judge(self._journal, message, hears_master=self._hears_master(now))
        self._journal.send(node, answer)
        if (self._journal.counter, self._journal.voted) != before:
            self._yield_to(now, f"{node} stands in {message.epoch}")
            if answer.granted:
                self._candidacy.wait(now, self._timing.suspect)
        if self.mastery is not None:
            self.mastery.asked_for_vote(node, now)

    def _hears_master(self, now: float) -> bool:
        if self.mastery is not None:
            return self.mastery.serving(now)
        return self._following.hears_master(now)

    def on_vote_answer(self, node: str, message: VoteAnswer, now: float) -> None:
        if message.counter > self._journal.counter:
            self._journal.raise_counter(message.counter)
            self._yield_to(now, f"{node} knows counter {message.counter}")
            return
        campaign = self._candidacy.on_answer(node, message, now)
        if campaign is not None:
            self._reign_in(campaign, now)

    def written(self, now: float) -> None:
        """Something reached the disk: a vote for oneself counts now, and so do records."""
        campaign = self._candidacy.written(now)
        if campaign is not None:
            self._reign_in(campaign, now)
        elif self.mastery is not None:
            self.mastery.advance()
        else:
            self._following.written(now)

    def _reign_in(self, campaign: Campaign, now: float) -> None:
        self._candidacy.succeed()
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
            self._journal.tell(BecomeMaster(epoch=mastery.epoch, alone=mastery.alone, again=mastery.again))
        mastery.reconsider(now)
        if mastery.retiring:
            mastery.heartbeat(now)

    def _resign(self, mastery: Mastery, now: float) -> None:
        """The others hold the log without this node: let them elect at once."""
        for node in self._journal.log.voters:
            self._journal.send(node, Resigned(epoch=mastery.epoch))
        self._step_down(now, "left the voters")

    def _yield_to(self, now: float, reason: str) -> None:
        """A higher counter exists: be master or candidate no more."""
        self._candidacy.give_up()
        self._step_down(now, reason)
        self._candidacy.wait(now, self._timing.ping)

    def _step_down(self, now: float, reason: str) -> None:
        mastery = self.mastery
        if mastery is None:
            return
        self.mastery = None
        if mastery.announced:
            self._journal.tell(StepDown(epoch=mastery.epoch, reason=reason))
        self._following.stop()
        self._candidacy.wait(now, self._timing.ping)

    # --- the master's words -------------------------------------------------------------------

    def on_append(self, message: AppendEntries | InstallSnapshot, now: float) -> None:
        """Follow the highest epoch met; tell a stale master so."""
        epoch, journal = message.epoch, self._journal
        if epoch < self.epoch or epoch.counter < journal.counter:
            answer = self._following.refusal(message, 0, now)
            journal.send(epoch.node, msgspec.structs.replace(answer, following=self.epoch))
            return
        if epoch != self.epoch or self._candidacy.campaign is not None:
            self._step_down(now, f"{epoch.node} is master of {epoch}")
            self.epoch = epoch
            if epoch.counter > journal.counter:
                journal.raise_counter(epoch.counter)
        self._following.begin(epoch)
        self._candidacy.succeed()
        if isinstance(message, AppendEntries):
            self._following.on_append(message, now)
        else:
            self._following.on_snapshot(message, now)
        self._candidacy.wait(now, self._timing.suspect)
        if self._leaving:
            self._ask_to_leave()

    def snapshot_fetched(self, upto: Mark, voters: tuple[str, ...], now: float) -> None:
        if self._following.master and self._following.install(upto, voters):
            if upto.epoch.counter > self._journal.counter:
                # It may be newer than the epoch that is followed: what that one still says is stale.
                self._journal.raise_counter(upto.epoch.counter)
            self._candidacy.wait(now, self._timing.suspect)

    def on_append_answer(self, node: str, message: AppendAnswer, now: float) -> None:
        if message.counter > self._journal.counter:
            self._journal.raise_counter(message.counter)
            self._yield_to(now, f"{node} knows counter {message.counter}")
        elif self.mastery is not None and message.following > self.epoch:
            self._yield_to(now, f"{node} follows {message.following}")
        elif self.mastery is not None and message.epoch == self.epoch:
            self.mastery.answered(node, message, now)
            if self.mastery.retired():
                self._resign(self.mastery, now)

    def on_resigned(self, message: Resigned, now: float) -> None:
        if message.epoch == self.epoch and self.mastery is None and self._candidacy.campaign is None:
            self._following.stop()
            self._candidacy.wait(now, 0.0)

    # --- peers --------------------------------------------------------------------------------

    def died(self, node: str, incarnation: int, now: float, *, report: bool) -> None:
        """Evidence of death: pass it on once, and stand for election if it was the master's."""
        if node == self.node or not self._witness.died(node, incarnation):
            return
        if report:
            others = {voter for voters in self._candidacy.required() for voter in voters} - {self.node, node}
            for other in sorted(others):
                self._journal.send(other, Evidence(node=node, incarnation=incarnation))
        if self.mastery is not None:
            self.mastery.heartbeat(now)
            self.mastery.advance()
        elif node in (self._following.master, self._journal.voted):
            self._candidacy.wait(now, 0.0)

    def came_up(self, node: str, incarnation: int, now: float) -> None:
        self._witness.came_up(node, incarnation, now)
        if self.mastery is not None:
            self.mastery.council.came_up(node, incarnation)

    def met(self, node: str, now: float) -> None:
        """Another master: of the two, the one that hears of the higher epoch yields."""
        if self.mastery is not None:
            self.mastery.asked_for_vote(node, now)

    def leave(self, incarnation: int) -> None:
        """This node drains: it stays a voter until the others have let it go."""
        self._leaving = True
        if self.mastery is not None:
            self.mastery.council.leaves(self.node, incarnation)
        else:
            self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        if self._following.master and self.node in self._journal.log.voters:
            self._journal.send(self._following.master, LeaveVoters())

    # --- for people ---------------------------------------------------------------------------

    def validate(self) -> None:
        """Raises AssertionError if two roles are held at once."""
        assert self.mastery is None or self._candidacy.campaign is None, self.describe()
        assert self.mastery is None or self.mastery.epoch == self.epoch, self.describe()

    def describe(self) -> str:
        """The role in a few words."""
        if self.mastery is not None:
            return self.mastery.describe()
        campaign = self._candidacy.campaign
        if campaign is not None:
            return campaign.describe()
        return f"follows {self._following.master or 'nobody'} in {self.epoch}"
