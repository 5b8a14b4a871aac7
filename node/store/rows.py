"""What queries return: plain rows, nothing computed. Times are Unix seconds."""

from __future__ import annotations

from msgspec import Struct, field

from node.store.details import Detail


class EvaluationRow(Struct, frozen=True, kw_only=True):
    """One line of the list of evaluations. ``began`` and ``ended`` are None before that."""

    id: int
    name: str
    state: str
    detail: str
    accepted: float
    began: float | None
    ended: float | None
    projects: tuple[str, ...]
    """Names, in order of submission."""


class ModuleRow(Struct, frozen=True, kw_only=True):
    """``outcomes`` counts verdicts by outcome; ``planned`` counts tests with and without one."""

    name: str
    planned: int
    outcomes: dict[str, int]


class ProjectRow(Struct, frozen=True, kw_only=True):
    """One project and its modules in pytest's order."""

    number: int
    name: str
    url: str
    package: str
    size: int
    state: str
    mode: str
    command: tuple[str, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]
    phase: str
    message: str
    log: str
    audited: bool
    confirmed: bool
    modules: tuple[ModuleRow, ...]


class MergedRow(Struct, frozen=True, kw_only=True):
    """Another history of an evaluation, of ``node``: what the side that does not stand had come to."""

    node: str
    history: str
    stands: str
    """``returned``: the history of ``node``; ``present``: that of the master it came back to."""
    state: str
    """Empty: the other side did not know the evaluation."""
    outcomes: dict[str, int]


class EvaluationRows(Struct, frozen=True, kw_only=True):
    """Everything the evaluation's own page shows."""

    evaluation: EvaluationRow
    count_skipped: bool
    projects: tuple[ProjectRow, ...]
    merged: tuple[MergedRow, ...] = ()


class AttemptRow(Struct, frozen=True, kw_only=True):
    """One attempt, in the order of the log. ``node`` is an address, empty when no node ran it."""

    position: int
    outcome: str
    node: str
    assignment: str
    at: float
    seconds: float
    detail: Detail


class TestRow(Struct, frozen=True, kw_only=True):
    """One planned test. ``outcome`` is None without a verdict; ``standing`` is the ``position`` of the
    attempt that the verdict comes from."""

    __test__ = False

    project: str
    module: str
    nodeid: str
    occurrence: int
    outcome: str | None
    standing: int | None
    unconfirmed: bool
    split_sensitive: bool
    attempts: tuple[AttemptRow, ...]


class TestsPage(Struct, frozen=True, kw_only=True):
    """Page ``page`` (from 1) of ``total`` tests that match."""

    __test__ = False

    tests: tuple[TestRow, ...]
    page: int
    limit: int
    total: int


class Totals(Struct, kw_only=True):
    """What counts in ``/stats``, of one node or of the whole system."""

    passed: int = 0
    failed: int = 0
    modules: int = 0
    projects: set[str] = field(default_factory=set)
    """Sources: the URL, or the name of an upload."""
    evaluations: set[int] = field(default_factory=set)


class Stats(Struct, frozen=True, kw_only=True):
    """Since the system began, also of nodes now gone. ``nodes`` is keyed by address."""

    all: Totals
    nodes: dict[str, Totals]
