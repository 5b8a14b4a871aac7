"""Candidacies and votes. One vote per counter; an older log is refused; a heard master is kept."""

from __future__ import annotations

from node.core.journal import Journal
from node.core.voters import agreed
from node.core.voting_log import VoterSet
from node.core.voting_messages import Epoch, PreVote, Vote, VoteAnswer


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
        epoch=message.epoch, binding=binding, granted=not reason, counter=journal.counter, reason=reason
    )
