"""What counts as passed and failed, and the grade. The one place of this rule.

passed = passed + xpassed (non-strict) + xfailed; failed = failed + error + timeout + crashed + lost,
and in an evaluation that is over also notrun; skipped leaves the denominator unless the submission
asks otherwise. A percentage is over the verdicts so far; with none yet it is 0.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

PASSED = frozenset({"passed", "xpassed", "xfailed"})
FAILED = frozenset({"failed", "error", "timeout", "crashed", "lost", "notrun"})
HIGHEST = 20.0


class Score(Struct, frozen=True, kw_only=True):
    """Percentages (0 to 100) and the grade (0 to 20), rounded to two digits."""

    passed: float
    failed: float
    grade: float


def score(outcomes: Mapping[str, int], *, count_skipped: bool = False) -> Score:
    """The score of so many verdicts of each outcome."""
    passed = sum(outcomes.get(outcome, 0) for outcome in PASSED)
    failed = sum(outcomes.get(outcome, 0) for outcome in FAILED)
    total = passed + failed + (outcomes.get("skipped", 0) if count_skipped else 0)
    if not total:
        return Score(passed=0.0, failed=0.0, grade=0.0)
    share = passed / total
    return Score(
        passed=round(100 * share, 2), failed=round(100 * failed / total, 2), grade=round(HIGHEST * share, 2)
    )


def overall_grade(grades: Iterable[float]) -> float:
    """The mean of the projects' grades."""
    known = list(grades)
    return round(sum(known) / len(known), 2) if known else 0.0
