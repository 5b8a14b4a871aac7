"""The ledger: what is known of each unfinished evaluation, built by applying records in order.

Applying is the only way this state changes, so replaying the log after a restart gives it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.core import records as rec
from proto.messages import AssignmentId, Options, Outcome, TestId

REQUESTS_KEPT = 10_000
"""Request ids of evaluations that ended and are remembered here."""
ELSEWHERE = rec.Accepted | rec.Attempted | rec.Merged | rec.Audited | rec.Reserved | rec.Joined | rec.Departed
"""Records that are not about a project as a whole, or are taken in before it comes to that."""
FAILURES = frozenset({"failed", "error", "timeout", "crashed"})
"""Outcomes that pytest would stop at under ``-x``."""


@dataclass(slots=True)
class TestState:
    """One planned test: its verdict, or the outcome that still waits for confirmation."""

    __test__ = False

    verdict: Outcome | None = None
    provisional: Outcome | None = None
    assignment: AssignmentId | None = None
    """Whose outcome was taken last: one that is sent again is known by it."""

    @property
    def seen(self) -> bool:
        """Whether it has any outcome."""
        return self.verdict is not None or self.provisional is not None


@dataclass(slots=True)
class Counts:
    """Tests planned, without any outcome, and whose failure was seen under a split only.

    Kept, not computed: they are asked for after every event. The others have their verdict.
    """

    planned: int = 0
    missing: int = 0
    unconfirmed: int = 0

    @property
    def verdicts(self) -> int:
        """Tests that have their verdict."""
        return self.planned - self.missing - self.unconfirmed

    def add(self, planned: int, missing: int, unconfirmed: int) -> None:
        """Change all three by so much."""
        self.planned += planned
        self.missing += missing
        self.unconfirmed += unconfirmed


@dataclass
class Module:
    """A module and its tests in pytest's order; ``planned`` once it was collected.

    ``total`` are the counts of the whole project, kept along.
    """

    name: str
    total: Counts = field(default_factory=Counts)
    tests: dict[TestId, TestState] = field(default_factory=dict)
    planned: bool = False
    counts: Counts = field(default_factory=Counts)

    def plan(self, tests: tuple[TestId, ...], *, replaces: bool) -> None:
        """More tests, or (``replaces``) these instead of all before."""
        if replaces:
            self.tests.clear()
            self._count(-self.counts.planned, -self.counts.missing, -self.counts.unconfirmed)
        before = len(self.tests)
        for test in tests:
            if test not in self.tests:
                self.tests[test] = TestState()
        new = len(self.tests) - before
        self._count(new, new, 0)
        self.planned = True

    def outcome(
        self, test: TestId, outcome: Outcome, *, final: bool, assignment: AssignmentId | None = None
    ) -> None:
        """One outcome; the first final one stands."""
        state = self.tests.get(test)
        if state is None:
            state = self.tests[test] = TestState()
            self._count(1, 1, 0)
        if state.verdict is not None:
            return
        state.assignment = assignment or state.assignment
        if state.provisional is None:
            self._count(0, -1, not final)
        elif final:
            self._count(0, 0, -1)
        if final:
            state.verdict = outcome
        else:
            state.provisional = outcome

    def _count(self, planned: int, missing: int, unconfirmed: int) -> None:
        self.counts.add(planned, missing, unconfirmed)
        self.total.add(planned, missing, unconfirmed)

    def missing(self) -> tuple[TestId, ...]:
        """Tests without any outcome."""
        if not self.counts.missing:
            return ()
        return tuple(test for test, s in self.tests.items() if s.verdict is None and s.provisional is None)

    def unconfirmed(self) -> tuple[TestId, ...]:
        """Tests whose failure was seen under a split only."""
        if not self.counts.unconfirmed:
            return ()
        return tuple(
            test for test, s in self.tests.items() if s.verdict is None and s.provisional is not None
        )


@dataclass
class Project:
    """One project of an evaluation."""

    index: int
    source: rec.Source
    package: str
    size: int
    listed: bool = False
    mode: str = "lazy"
    modules: dict[str, Module] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    losses: dict[tuple[str, TestId], int] = field(default_factory=dict)
    """How often a node was lost under the test."""
    deaths: dict[tuple[str, TestId], int] = field(default_factory=dict)
    """How often a runner died under it. A module stands for itself while it is collected."""
    interrupted: set[tuple[str, TestId, AssignmentId | None]] = field(default_factory=set)
    """What was counted so: an end is said again to the next master, and counts once."""
    state: str = ""
    """Empty until it has ended: finished, cancelled or failed."""

    def module(self, name: str) -> Module:
        """The module of that name, new if it was not listed."""
        found = self.modules.get(name)
        if found is None:
            found = self.modules[name] = Module(name, self.counts)
        return found

    def open_tests(self) -> Iterator[tuple[Module, TestId]]:
        """Planned tests without a verdict."""
        for module in self.modules.values():
            if module.counts.missing or module.counts.unconfirmed:
                for test, state in module.tests.items():
                    if state.verdict is None:
                        yield module, test


@dataclass
class Evaluation:
    """One unfinished submission."""

    id: int
    request: str
    options: Options
    projects: list[Project]
    accepted: float
    token: bool = False
    state: str = "queued"
    began: float = 0.0
    failures: int = 0
    """Tests seen to fail, for ``-x`` and ``--maxfail``."""


class Ledger:
    """All unfinished evaluations, and what was learned by audits."""

    def __init__(self) -> None:
        self.evaluations: dict[int, Evaluation] = {}
        self.requests: dict[str, int] = {}
        """Request id -> evaluation, of those that are unfinished or ended lately: the same request may
        be on its way twice, and the shell looked for it before it was."""
        self._over: deque[str] = deque()
        self._merging: dict[tuple[int, str, str], list[bytes]] = {}
        """Parts of histories that are to take the place of what is known here."""
        self.version = 0
        """Changes with every record about an evaluation or a project as a whole."""
        self.audited: dict[tuple[str, str], bool] = {}
        """(package, fingerprint) -> whether its modules' ids depend on each other."""

    def apply(self, record: rec.AnyRecord) -> None:
        """Take one record in; records of evaluations that ended are ignored."""
        if isinstance(record, rec.Attempted):  # nearly all are
            self._attempted(record)
        elif isinstance(record, rec.Audited):
            self.audited[record.package, record.fingerprint] = record.dependent
        elif isinstance(record, rec.Accepted):
            projects = [
                Project(index, source, source.package, source.size)
                for index, source in enumerate(record.projects)
            ]
            self.evaluations[record.evaluation] = Evaluation(
                record.evaluation, record.request, record.options, projects, record.at, record.token
            )
            self.requests.setdefault(record.request, record.evaluation)
            self.version += 1
        elif isinstance(record, rec.Merged):
            if record.stands == "returned":
                self._merged(record)
        elif record.evaluation in self.evaluations:
            self._apply(self.evaluations[record.evaluation], record)

    def _attempted(self, record: rec.Attempted) -> None:
        evaluation = self.evaluations.get(record.evaluation)
        if evaluation is None:
            return
        module = evaluation.projects[record.project].module(record.module)
        if record.outcome in FAILURES:
            seen = module.tests.get(record.test)
            evaluation.failures += seen is None or seen.provisional is None
        module.outcome(record.test, record.outcome, final=record.final, assignment=record.assignment)

    def _merged(self, record: rec.Merged) -> None:
        """With the last part the other history takes the place of what is known of the evaluation."""
        key = (record.evaluation, record.node, record.history)
        if not record.part:
            self._merging[key] = []
        parts = self._merging.setdefault(key, [])
        parts.append(record.body)
        if record.last:
            del self._merging[key]
            self.evaluations.pop(record.evaluation, None)
            self.version += 1
            for body in parts:
                for _, past in rec.decode_past(body):
                    self.apply(past)

    def _apply(self, evaluation: Evaluation, record: rec.AnyRecord) -> None:
        self.version += not isinstance(record, rec.Listed | rec.Planned | rec.Settled | rec.Interrupted)
        if isinstance(record, rec.Began):
            evaluation.state = record.state
            evaluation.began = evaluation.began or record.at
        elif isinstance(record, rec.Ended):
            evaluation.state = record.state
            del self.evaluations[record.evaluation]
            self._over.append(evaluation.request)
            if len(self._over) > REQUESTS_KEPT:
                self.requests.pop(self._over.popleft(), None)
        elif not isinstance(record, ELSEWHERE):
            _apply_to_project(evaluation.projects[record.project], record)


def _apply_to_project(
    project: Project,
    record: rec.Fetched
    | rec.ProjectFailed
    | rec.Listed
    | rec.Planned
    | rec.Settled
    | rec.Interrupted
    | rec.ProjectEnded,
) -> None:
    if isinstance(record, rec.Fetched):
        project.package, project.size = record.package, record.size
    elif isinstance(record, rec.ProjectFailed):
        project.state = "failed"
    elif isinstance(record, rec.Listed):
        project.listed, project.mode = True, record.mode
        for name in record.modules:
            project.module(name)
    elif isinstance(record, rec.Planned):
        project.module(record.module).plan(record.tests, replaces=record.replaces)
    elif isinstance(record, rec.Interrupted):
        project.interrupted.add((record.module, record.test, record.assignment))
        counts = project.losses if record.how == "node" else project.deaths
        counts[record.module, record.test] = counts.get((record.module, record.test), 0) + 1
    elif isinstance(record, rec.Settled):
        project.module(record.module).outcome(record.test, record.outcome, final=True)
    else:
        project.state = record.state
