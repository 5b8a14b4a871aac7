"""Candidacies and votes. One vote per counter; an older log is refused; a heard master is kept."""

from __future__ import annotations

from node.core.failover import Witness
from node.core.journal import Journal
from node.core.timing import Timing
from node.core.voters import agreed, partners
from node.core.voting_log import VoterSet
from proto.voting import Epoch, PreVote, Vote, VoteAnswer


class Campaign:
    """One candidacy: first it asks (pre-vote), then it raises the epoch and wants binding votes.

    ``standing_in`` are the nodes whose vote evidence replaces, fixed when the candidacy begins.
    ``patience`` is in seconds: how long to wait for the answers of a stage.
    """

    def __init__(
        self, node: str, epoch: Epoch, standing_in: frozenset[str], now: float, patience: float
    ) -> None:
        self.node = node
        self.epoch = epoch
        self.standing_in = standing_in
        self.patience = patience
        self.deadline = now + patience
        self.binding = False
        self.yes: set[str] = {node}

    def bind(self, journal: Journal) -> None:
        """Raise the epoch and vote for oneself; the own vote counts once it is on disk."""
        journal.raise_counter(self.epoch.counter, self.node)
        self.binding = True
        self.yes = set()

    def won(self, required: tuple[VoterSet, ...]) -> bool:
        return agreed(required, self.yes, self.node, self.standing_in)

    def request(self, journal: Journal) -> PreVote | Vote:
        """What to ask the other voters at this stage."""
        last = journal.log.last
        return Vote(epoch=self.epoch, last=last) if self.binding else PreVote(epoch=self.epoch, last=last)

    def describe(self) -> str:
        """The stage in a few words."""
        stage = "candidate" if self.binding else "asking"
        return f"{stage} for {self.epoch}, yes from {' '.join(sorted(self.yes)) or 'nobody yet'}"


def judge(journal: Journal, message: PreVote | Vote, *, hears_master: bool) -> VoteAnswer:
    """This voter's answer. A binding request with a higher counter raises the own, yes or no."""
    binding = isinstance(message, Vote)
    reason = ""
    if hears_master:
        reason = "hears the master"
    elif message.epoch.counter < journal.counter or (
        not binding and message.epoch.counter == journal.counter
    ):
        reason = "a newer epoch is known"
    else:
        if binding and message.epoch.counter > journal.counter:
            journal.raise_counter(message.epoch.counter)
        if binding and journal.voted not in ("", message.epoch.node):
            reason = f"voted for {journal.voted}"
        elif message.last < journal.log.last:
            reason = "older log"
        elif binding:
            journal.raise_counter(message.epoch.counter, message.epoch.node)
    return VoteAnswer(
        epoch=message.epoch,
        binding=binding,
        granted=not reason,
        counter=journal.counter,
        commit=journal.log.mark(journal.commit),
        reason=reason,
    )


class Candidacy:
    """When this node stands for election, and how its present candidacy fares."""

    def __init__(self, node: str, journal: Journal, witness: Witness, timing: Timing, now: float) -> None:
        self.campaign: Campaign | None = None
        self._node = node
        self._journal = journal
        self._witness = witness
        self._timing = timing
        self._attempts = 0
        """Candidacies since a master was last heard."""
        self._stand_at: float | None = None
        self.wait(now, 0.0 if self.required() == ((node,),) else timing.ping)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has something to do; None for a node that is no voter."""
        return self.campaign.deadline if self.campaign is not None else self._stand_at

    def required(self) -> tuple[VoterSet, ...]:
        """The sets that must agree, as far as this node knows what is committed."""
        return self._journal.log.required(self._journal.commit)

    def wait(self, now: float, seconds: float) -> None:
        """Stand after ``seconds``, later by this voter's place among those not proven dead."""
        self._stand_at = None
        if any(self._node in voters for voters in self.required()):
            order = [node for node in self._journal.log.voters if not self._witness.is_dead(node)]
            rank = order.index(self._node) if self._node in order else len(order)
            self._stand_at = now + seconds + rank * self._timing.stagger

    def give_up(self) -> None:
        self.campaign = None

    def succeed(self) -> None:
        """There is a master: this node, or another one."""
        self.campaign = None
        self._attempts = 0

    def tick(self, now: float, epoch: Epoch) -> None:
        """The deadline came: stand, or stand again."""
        campaign = self.campaign
        if campaign is not None and campaign.binding and not self._journal.ballot_written:
            # A slow disk is no reason to raise the counter again: that would ask more of it.
            campaign.deadline = now + campaign.patience
            return
        self._attempts += 1
        self.stand(now, self._substitutes(now, epoch))

    def _substitutes(self, now: float, epoch: Epoch) -> frozenset[str]:
        durable = self._journal.durable
        return frozenset(
            other
            for other in partners(self.required(), self._node)
            if self._witness.backup_stands_in(other, epoch, durable, now)
        )

    def stand(self, now: float, standing_in: frozenset[str]) -> None:
        """Begin a candidacy, if this node is a voter. ``standing_in``: evidence replaces their votes."""
        self.campaign = None
        self.wait(now, 0.0)
        if self._stand_at is None:
            return
        # Odd spacing by rank: two candidates that split the vote once do not meet again.
        patience = self._timing.suspect / 2 + 1.4 * (self._stand_at - now)
        epoch = Epoch(self._journal.counter + 1, self._node)
        self.campaign = Campaign(self._node, epoch, standing_in, now, patience)
        self._canvass(self.campaign, now)

    def _canvass(self, campaign: Campaign, now: float) -> None:
        """Ask; and go on at once if nobody else is needed."""
        if not campaign.binding and campaign.won(self.required()):
            campaign.bind(self._journal)
            # The voters write before they answer: give slower disks more time at each attempt.
            campaign.deadline = now + campaign.patience * min(self._attempts + 1, 6)
        request = campaign.request(self._journal)
        others = {node for voters in self.required() for node in voters} - {self._node}
        for node in sorted(others - campaign.standing_in):
            self._journal.send(node, request)

    def on_answer(self, node: str, message: VoteAnswer, now: float) -> Campaign | None:
        """Count a vote. Returns the candidacy if it is won for good."""
        campaign, journal = self.campaign, self._journal
        learnt = journal.log.epoch_at(message.commit.position) == message.commit.epoch
        if learnt and message.commit.position > journal.commit:
            journal.commit = message.commit.position
            self.wait(now, self._timing.ping)
        if campaign is None or (message.epoch, message.binding) != (campaign.epoch, campaign.binding):
            return None
        if message.granted:
            campaign.yes.add(node)
        if not campaign.won(self.required()):
            return None
        if campaign.binding:
            return campaign
        self._canvass(campaign, now)
        return None

    def written(self, now: float) -> Campaign | None:
        """The own vote counts once it is on disk. Returns the candidacy if it is won for good."""
        campaign = self.campaign
        if campaign is None or not campaign.binding or not self._journal.ballot_written:
            return None
        campaign.yes.add(self._node)
        campaign.deadline = max(campaign.deadline, now + campaign.patience)
        return campaign if campaign.won(self.required()) else None
