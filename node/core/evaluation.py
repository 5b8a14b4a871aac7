"""The ledger: what is known of each unfinished evaluation, built by applying records in order.

Applying is the only way this state changes, so replaying the log after a restart gives it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from node.core import records as rec
from proto.messages import AssignmentId, Options, Outcome, TestId

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


@dataclass
class Module:
    """A module and its tests in pytest's order; ``planned`` once it was collected.

    The counts are kept, not computed: they are asked for after every event.
    """

    name: str
    tests: dict[TestId, TestState] = field(default_factory=dict)
    planned: bool = False
    missing_count: int = 0
    """Tests without any outcome."""
    unconfirmed_count: int = 0
    """Tests whose failure was seen under a split only."""

    def plan(self, tests: tuple[TestId, ...], *, replaces: bool) -> None:
        """More tests, or (``replaces``) these instead of all before."""
        if replaces:
            self.tests.clear()
            self.missing_count = self.unconfirmed_count = 0
        for test in tests:
            if test not in self.tests:
                self.tests[test] = TestState()
                self.missing_count += 1
        self.planned = True

    def outcome(
        self, test: TestId, outcome: Outcome, *, final: bool, assignment: AssignmentId | None = None
    ) -> None:
        """One outcome; the first final one stands."""
        state = self.tests.get(test)
        if state is None:
            state = self.tests[test] = TestState()
            self.missing_count += 1
        if state.verdict is not None:
            return
        state.assignment = assignment or state.assignment
        if state.provisional is None:
            self.missing_count -= 1
            self.unconfirmed_count += not final
        elif final:
            self.unconfirmed_count -= 1
        if final:
            state.verdict = outcome
        else:
            state.provisional = outcome

    def missing(self) -> tuple[TestId, ...]:
        """Tests without any outcome."""
        if not self.missing_count:
            return ()
        return tuple(test for test, s in self.tests.items() if s.verdict is None and s.provisional is None)

    def unconfirmed(self) -> tuple[TestId, ...]:
        """Tests whose failure was seen under a split only."""
        if not self.unconfirmed_count:
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
    losses: dict[tuple[str, TestId], int] = field(default_factory=dict)
    """How often a node was lost under the test."""
    deaths: dict[tuple[str, TestId], int] = field(default_factory=dict)
    """How often a runner died under it. A module stands for itself while it is collected."""
    state: str = ""
    """Empty until it has ended: finished, cancelled or failed."""

    def module(self, name: str) -> Module:
        """The module of that name, new if it was not listed."""
        found = self.modules.get(name)
        if found is None:
            found = self.modules[name] = Module(name)
        return found

    def open_tests(self) -> Iterator[tuple[Module, TestId]]:
        """Planned tests without a verdict."""
        for module in self.modules.values():
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
        self.audited: dict[tuple[str, str], bool] = {}
        """(package, fingerprint) -> whether its modules' ids depend on each other."""

    def apply(self, record: rec.AnyRecord) -> None:
        """Take one record in; records of evaluations that ended are ignored."""
        if isinstance(record, rec.Joined | rec.Departed):
            return
        if isinstance(record, rec.Audited):
            self.audited[record.package, record.fingerprint] = record.dependent
            return
        if isinstance(record, rec.Accepted):
            projects = [
                Project(index, source, source.package, source.size)
                for index, source in enumerate(record.projects)
            ]
            self.evaluations[record.evaluation] = Evaluation(
                record.evaluation, record.request, record.options, projects, record.at, record.token
            )
            self.requests[record.request] = record.evaluation
            return
        evaluation = self.evaluations.get(record.evaluation)
        if evaluation is None:
            return
        if isinstance(record, rec.Began):
            evaluation.state = record.state
            evaluation.began = evaluation.began or record.at
        elif isinstance(record, rec.Ended):
            evaluation.state = record.state
            del self.evaluations[record.evaluation]
            self.requests.pop(evaluation.request, None)
        else:
            project = evaluation.projects[record.project]
            if isinstance(record, rec.Attempted) and record.outcome in FAILURES:
                seen = project.module(record.module).tests.get(record.test)
                evaluation.failures += seen is None or seen.provisional is None
            _apply_to_project(project, record)


def _apply_to_project(project: Project, record: rec.AnyRecord) -> None:
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
    elif isinstance(record, rec.Attempted):
        project.module(record.module).outcome(
            record.test, record.outcome, final=record.final, assignment=record.assignment
        )
    elif isinstance(record, rec.Interrupted):
        counts = project.losses if record.how == "node" else project.deaths
        counts[record.module, record.test] = counts.get((record.module, record.test), 0) + 1
    elif isinstance(record, rec.Settled):
        project.module(record.module).outcome(record.test, record.outcome, final=True)
    elif isinstance(record, rec.ProjectEnded):
        project.state = record.state
