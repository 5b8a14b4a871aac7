"""Histories that simulated nodes have set aside, as ``node/store/aside`` does."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core import records as rec
from proto.voting import NO_EPOCH, OfferHistory
from tests.simulation.whole.facts import Facts, decoded

RECORDS = 7
"""In one part."""


@dataclass
class Asides:
    """On a node's disk; ``offers`` in order, and the records that belong to each."""

    offers: list[OfferHistory] = field(default_factory=list)
    _pasts: dict[tuple[str, int], list[rec.Past]] = field(default_factory=dict)
    _count: int = 0

    def add(self, facts: Facts, applied: int, first: int) -> None:
        """Set aside what the first ``applied`` hold: what is not over, or changed from ``first`` on."""
        self._count += 1
        history = f"aside {self._count}"
        for number, past in facts.pasts(applied).items():
            ended = next((record.epoch for _, record in past if isinstance(record, rec.Ended)), NO_EPOCH)
            changed = any(
                position >= first and decoded(facts.log[position - 1].payload).evaluation == number
                for position in range(1, applied + 1)
                if facts.log[position - 1].payload
            )
            if ended != NO_EPOCH and not changed:
                continue
            over = {record.project for _, record in past if isinstance(record, rec.ProjectEnded)}
            (accepted,) = (record for _, record in past if isinstance(record, rec.Accepted))
            packages = {
                source.package: source.size
                for index, source in enumerate(accepted.projects)
                if source.package and index not in over and ended == NO_EPOCH
            }
            self.offers.append(
                OfferHistory(history=history, evaluation=number, ended=ended, packages=packages)
            )
            parts = [tuple(past[at : at + RECORDS]) for at in range(0, len(past), RECORDS)]
            self._pasts[history, number] = parts

    def part(self, history: str, evaluation: int, number: int) -> tuple[bytes, bool] | None:
        """One part, and whether it is the last; None if the evaluation is here no more."""
        parts = self._pasts.get((history, evaluation))
        if parts is None:
            return None
        return rec.encode_past(parts[number]), number == len(parts) - 1

    def drop(self, history: str, evaluation: int) -> None:
        """The cluster has it."""
        self._pasts.pop((history, evaluation), None)
        self.offers = [one for one in self.offers if (one.history, one.evaluation) in self._pasts]
