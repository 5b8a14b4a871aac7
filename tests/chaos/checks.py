"""Whether a report is the one and only right one. Pure: lines in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.suite import Key

GONE = ("lost", "notrun")
_SHOWN = 5


@dataclass
class Tally:
    """Verdicts of all checked reports."""

    verdicts: int = 0
    lost: int = 0
    wrong: int = 0
    doubled: int = 0
    rerun: int = 0
    """Tests that were tried more often than an undisturbed run tries them."""
    findings: list[str] = field(default_factory=list)

    def add(
        self, evaluation: int, expected: Mapping[Key, str], answer: Mapping[str, Any], lines: Iterable[Any]
    ) -> None:
        """Compare one finished evaluation's report with what it must say."""
        found: dict[Key, str] = {}
        seen: Counter[Key] = Counter()
        for line in lines:
            key = (line["nodeid"], line["occurrence"])
            seen[key] += 1
            found[key] = line["outcome"]
            self.rerun += len(line["attempts"]) > attempts(line["outcome"])
        lost = [key for key in expected if found.get(key, "lost") in GONE]
        wrong = [key for key in found if found[key] not in (*GONE, expected.get(key))]
        doubled = [key for key, count in seen.items() if count > 1]
        self.verdicts += len(found)
        self.lost += len(lost)
        self.wrong += len(wrong)
        self.doubled += len(doubled)
        self._find(evaluation, "lost", (f"{key[0]} ({found.get(key, 'missing')})" for key in lost))
        self._find(
            evaluation,
            "wrong",
            (f"{key[0]} {found[key]}, not {expected.get(key, 'a test at all')}" for key in wrong),
        )
        self._find(evaluation, "doubled", (key[0] for key in doubled))
        if answer["state"] != "finished":
            self.findings.append(f"evaluation {evaluation} is {answer['state']}: {answer.get('detail')}")
        if answer["tests"]["total"] != len(expected):
            self.findings.append(
                f"evaluation {evaluation} counts {answer['tests']['total']} tests, not {len(expected)}"
            )

    def _find(self, evaluation: int, what: str, which: Iterable[str]) -> None:
        names = list(which)
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            shown = "; ".join(names[:_SHOWN])
            self.findings.append(f"evaluation {evaluation}, {len(names)} {what}: {shown}{more}")


def attempts(outcome: str) -> int:
    """How often an undisturbed split run tries a test: what failed is confirmed."""
    return 2 if outcome in ("failed", "error") else 1
