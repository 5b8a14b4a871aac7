"""Everything that was committed, by whichever node, and the rules that only it can show to be kept.

All nodes share one history, unless somebody forged a close: then each of two masters has its own
until they meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from node.core import records as rec
from proto.messages import AssignmentId, TestId
from proto.voting import Epoch, LogRecord
from tests.simulation.checks import Violation

Place = tuple[int, int, str, TestId]
"""(evaluation, project, module, test)"""


@lru_cache(maxsize=10_000)
def decoded(payload: bytes) -> rec.AnyRecord:
    """The record in a log record that has one."""
    return rec.decode(payload)


@dataclass
class Facts:
    """The one history. Positions count from 1; every node's tables hold a beginning of it."""

    log: list[LogRecord] = field(default_factory=list)
    records: list[rec.AnyRecord] = field(default_factory=list)
    planned: dict[tuple[int, int], dict[str, dict[TestId, None]]] = field(default_factory=dict)
    verdicts: dict[Place, str] = field(default_factory=dict)
    unconfirmed: set[Place] = field(default_factory=set)
    projects: dict[tuple[int, int], rec.ProjectEnded] = field(default_factory=dict)
    ended: dict[int, rec.Ended] = field(default_factory=dict)
    accepted: dict[int, rec.Accepted] = field(default_factory=dict)
    requests: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Request id -> (evaluation, position)."""
    attempts: set[tuple[AssignmentId, TestId]] = field(default_factory=set)
    losses: dict[Place, int] = field(default_factory=dict)
    settled: set[tuple[str, str, int]] = field(default_factory=set)
    """(node, history, evaluation) of what was merged."""
    parted: bool = False
    """There were two masters: one request may have got an id from each."""
    _parts: dict[tuple[str, str, int], list[bytes]] = field(default_factory=dict)

    def first(self, applied: int) -> Facts:
        """A history of its own that begins with the first ``applied`` of this one."""
        other = Facts(parted=True)
        for record in self.log[:applied]:
            other.apply("", record)
        return other

    def apply(self, node: str, record: LogRecord) -> None:
        """A node's tables take in one more committed record.

        Raises:
            Violation: another record was committed there, or a rule is broken.
        """
        if record.position <= len(self.log):
            known = self.log[record.position - 1]
            if known != record:
                raise Violation(f"{node} commits {record}, but {known} was committed there")
            return
        if record.position != len(self.log) + 1:
            raise Violation(f"{node} commits #{record.position} before anybody had #{len(self.log) + 1}")
        self.log.append(record)
        if record.payload:
            fact = decoded(record.payload)
            self.records.append(fact)
            self._check(fact)

    def _check(self, fact: rec.AnyRecord) -> None:
        if isinstance(fact, rec.Accepted):
            self._accept(fact)
        elif isinstance(fact, rec.Audited | rec.Reserved | rec.Joined | rec.Departed):
            return
        elif isinstance(fact, rec.Merged):
            self._merge(fact)
        elif fact.evaluation in self.ended:
            raise Violation(f"{fact} after the end of its evaluation")
        elif isinstance(fact, rec.Planned):
            modules = self.planned.setdefault((fact.evaluation, fact.project), {})
            if fact.replaces:
                for test in modules.pop(fact.module, {}):
                    self.verdicts.pop((fact.evaluation, fact.project, fact.module, test), None)
            modules.setdefault(fact.module, {}).update(dict.fromkeys(fact.tests))
        elif isinstance(fact, rec.Attempted | rec.Settled):
            self._outcome(fact)
        elif isinstance(fact, rec.Interrupted):
            place = (fact.evaluation, fact.project, fact.module, fact.test)
            self.losses[place] = self.losses.get(place, 0) + (fact.how == "node")
        elif isinstance(fact, rec.ProjectFailed):
            # The store gives a project that could not be run one error.
            name = f"({fact.phase})"
            self.verdicts[fact.evaluation, fact.project, name, TestId(name)] = "error"
        elif isinstance(fact, rec.ProjectEnded):
            key = (fact.evaluation, fact.project)
            if key in self.projects:
                raise Violation(f"project {key} ends twice")
            self.projects[key] = fact
            self._conserved(*key)
        elif isinstance(fact, rec.Ended):
            self.ended[fact.evaluation] = fact
            for key in [key for key in self.planned if key[0] == fact.evaluation]:
                self._conserved(*key)

    def _accept(self, fact: rec.Accepted) -> None:
        if fact.evaluation in self.accepted:
            raise Violation(f"evaluation {fact.evaluation} is given twice")
        if fact.request in self.requests and not self.parted:
            raise Violation(f"request {fact.request} is {self.requests[fact.request]} and {fact.evaluation}")
        self.accepted[fact.evaluation] = fact
        self.requests.setdefault(fact.request, (fact.evaluation, len(self.log)))

    def _merge(self, fact: rec.Merged) -> None:
        key = (fact.node, fact.history, fact.evaluation)
        if key in self.settled:
            raise Violation(f"{key} is merged twice")
        parts = self._parts.setdefault(key, [])
        if not fact.part:
            parts.clear()
        if fact.part != len(parts):
            raise Violation(f"part {fact.part} of {key} came after {len(parts)} parts")
        parts.append(fact.body)
        if not fact.last:
            return
        self.settled.add(key)
        if fact.stands == "returned":
            self._take_out(fact.evaluation)
            for body in self._parts.pop(key):
                for _, record in rec.decode_past(body):
                    self._check(record)

    def _take_out(self, evaluation: int) -> None:
        """Another history of the evaluation stands."""
        self.accepted.pop(evaluation, None)
        self.ended.pop(evaluation, None)
        for projects in (self.planned, self.projects):
            for project in [key for key in projects if key[0] == evaluation]:
                del projects[project]
        for place in [place for place in self.verdicts if place[0] == evaluation]:
            del self.verdicts[place]
        self.unconfirmed = {place for place in self.unconfirmed if place[0] != evaluation}

    def _outcome(self, fact: rec.Attempted | rec.Settled) -> None:
        place = (fact.evaluation, fact.project, fact.module, fact.test)
        if fact.test not in self.planned.get(place[:2], {}).get(fact.module, {}):
            raise Violation(f"{fact.test} has an outcome but no plan")
        if isinstance(fact, rec.Attempted) and fact.assignment is not None:
            self.attempts.add((fact.assignment, fact.test))
        if isinstance(fact, rec.Settled) or fact.final:
            if place in self.verdicts:
                raise Violation(f"a second verdict for {fact.test}: {self.verdicts[place]}, {fact}")
            self.verdicts[place] = fact.outcome
            if fact.unconfirmed:
                self.unconfirmed.add(place)

    def _conserved(self, evaluation: int, project: int) -> None:
        for module, tests in self.planned.get((evaluation, project), {}).items():
            for test in tests:
                if (evaluation, project, module, test) not in self.verdicts:
                    raise Violation(f"{test} of {evaluation}/{project} has no verdict")

    # --- what a node finds in its tables ----------------------------------------------------------

    def pasts(self, applied: int) -> dict[int, list[tuple[int, rec.AnyRecord]]]:
        """Evaluation -> its records, with their positions, of the first ``applied``."""
        found: dict[int, list[tuple[int, rec.AnyRecord]]] = {}
        parts: dict[tuple[str, str, int], list[bytes]] = {}
        for position, record in enumerate(self.log[:applied], 1):
            fact = decoded(record.payload) if record.payload else None
            if isinstance(fact, rec.Merged) and fact.stands == "returned":
                key = (fact.node, fact.history, fact.evaluation)
                if not fact.part:
                    parts[key] = []
                parts[key].append(fact.body)
                if fact.last:
                    found[fact.evaluation] = [one for body in parts[key] for one in rec.decode_past(body)]
            elif fact is not None and fact.evaluation and not isinstance(fact, rec.Merged | rec.Audited):
                found.setdefault(fact.evaluation, []).append((position, fact))
        return found

    def unfinished(self, applied: int) -> tuple[rec.AnyRecord, ...]:
        """Records of unfinished evaluations, and what audits found, of the first ``applied``."""
        audits = [fact for fact in self._first(applied) if isinstance(fact, rec.Audited)]
        going_on = [
            fact
            for past in self.pasts(applied).values()
            for _, fact in past
            if not any(isinstance(one, rec.Ended) for _, one in past)
        ]
        return (*audits, *going_on)

    def standing(self, evaluation: int, applied: int) -> tuple[bool, Epoch | None]:
        """Whether the first ``applied`` know the evaluation, and the epoch in which it ended."""
        past = self.pasts(applied).get(evaluation, [])
        ended = [record.epoch for _, record in past if isinstance(record, rec.Ended)]
        return bool(past), ended[0] if ended else None

    def highest(self, applied: int) -> int:
        """The highest evaluation id in the first ``applied``."""
        reserved = [fact.upto for fact in self._first(applied) if isinstance(fact, rec.Reserved)]
        return max([*self.pasts(applied), *reserved], default=0)

    def members(self, applied: int) -> tuple[rec.Joined, ...]:
        """The roster, by join."""
        members: dict[str, rec.Joined] = {}
        for fact in self._first(applied):
            if isinstance(fact, rec.Joined):
                members[fact.node] = fact
            elif isinstance(fact, rec.Departed):
                members.pop(fact.node, None)
        return tuple(members.values())

    def request(self, request: str, applied: int) -> int | None:
        """The id that a request got, as far as the first ``applied`` know."""
        evaluation, position = self.requests.get(request, (0, 0))
        return evaluation if evaluation and position <= applied else None

    def _first(self, applied: int) -> list[rec.AnyRecord]:
        return [decoded(record.payload) for record in self.log[:applied] if record.payload]

    # --- what came out ----------------------------------------------------------------------------

    def outcomes(self, evaluation: int, project: int = 0) -> dict[tuple[str, TestId], str]:
        """(module, test) -> verdict of one project."""
        return {key[2:]: said for key, said in self.verdicts.items() if key[:2] == (evaluation, project)}

    def of(self, kind: type, evaluation: int) -> list[rec.AnyRecord]:
        """The records of one kind about one evaluation."""
        return [fact for fact in self.records if isinstance(fact, kind) and fact.evaluation == evaluation]

    def all_ended(self) -> bool:
        """Whether something was accepted, and all of it is over."""
        return bool(self.accepted) and self.accepted.keys() <= self.ended.keys()
