"""What the run knows of itself: submissions, what was seen of the cluster, what was broken. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.gaps import Availability, Gaps

MOST_VIOLATIONS = 200


@dataclass
class Submission:
    """One evaluation from its submission to the check of its report."""

    number: int
    key: str
    evaluation: int = 0
    executed: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    """The last ``GET /evaluation/<id>``."""
    over: threading.Event = field(default_factory=threading.Event)
    lines: list[dict[str, Any]] = field(default_factory=list)
    """``report.jsonl`` as it was when the evaluation had ended."""


@dataclass(frozen=True)
class View:
    """The cluster as ``/health`` and ``/network`` last showed it; ``at`` is when both were asked for."""

    at: float = 0.0
    master: str = ""
    epoch: str = ""
    voters: frozenset[str] = frozenset()
    durability: str = ""
    members: frozenset[str] = frozenset()


class Book:
    """Shared by the clients, the watcher and the agent.

    Args:
        total: tests of one evaluation. Its own ``total`` grows while modules are collected.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.submissions: list[Submission] = []
        self.violations: list[str] = []
        self.refusals: Counter[int] = Counter()
        self.epochs: list[str] = []
        self.went_back = 0
        """Times an evaluation showed fewer verdicts than before."""
        self.gaps = Gaps()
        self.availability = Availability()
        self.view = View()
        self._lock = threading.Lock()

    def new(self, seed: int) -> Submission:
        """The next submission, with a key of its own."""
        with self._lock:
            number = len(self.submissions) + 1
            submission = Submission(number, f"chaos-{seed}-{number}")
            self.submissions.append(submission)
            return submission

    def violated(self, text: str) -> None:
        """A promise was broken."""
        with self._lock:
            if len(self.violations) < MOST_VIOLATIONS:
                self.violations.append(text)

    def running(self) -> list[Submission]:
        """Acknowledged and not over."""
        return [one for one in list(self.submissions) if one.evaluation and not one.over.is_set()]

    def seen(self, submission: Submission, answer: dict[str, Any], asked: float, answered: float) -> None:
        """An answer about an evaluation."""
        executed = answer["tests"]["executed"]
        with self._lock:
            if executed < submission.executed:
                self.went_back += 1
            submission.executed, submission.answer = executed, answer
            self.gaps.seen(asked, answered, submission.evaluation, executed, self.total - executed)
            if answer["state"] in ("finished", "cancelled", "failed"):
                self.gaps.over(submission.evaluation)
                submission.over.set()

    def shown(self, view: View) -> None:
        """A new view of the cluster."""
        if not self.epochs or self.epochs[-1] != view.epoch:
            self.epochs.append(view.epoch)
        self.view = view

    def killed(self, at: float, kind: str) -> None:
        """A node was killed."""
        with self._lock:
            self.gaps.killed(at, kind)
