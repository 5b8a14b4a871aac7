"""Testring's outcomes against plain pytest's, and the reasons a suite may itself give for a difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.real.reference import Built, Key, Reference, serial
from tests.support.cluster import Result

MISSING = "(missing)"
SHOWN = 12


@dataclass(frozen=True)
class Difference:
    """One test that ended otherwise; an outcome is ``(missing)`` where a run has no such test."""

    key: Key
    plain: str
    testring: str

    def __str__(self) -> str:
        nodeid, occurrence = self.key
        return f"{nodeid} #{occurrence}: plain pytest {self.plain}, Testring {self.testring}"


@dataclass
class Finding:
    """What the comparison of one project came to."""

    differences: list[Difference]
    chance: list[Difference] = field(default_factory=list)
    """Differences in tests whose outcome also differs between two serial runs."""
    order: list[Difference] = field(default_factory=list)
    """Differences that plain pytest shows too, when given the modules as Testring's workers had them."""

    @property
    def equal(self) -> bool:
        return not self.differences

    @property
    def explained(self) -> bool:
        """Every difference is the suite's own dependence on chance or order."""
        known = {difference.key for difference in (*self.chance, *self.order)}
        return all(difference.key in known for difference in self.differences)

    @property
    def word(self) -> str:
        """``yes``, ``suite's own (n)``, ``NO (n)``."""
        if self.equal:
            return "yes"
        return f"suite's own ({len(self.differences)})" if self.explained else f"NO ({len(self.differences)})"


def worse(one: Finding, other: Finding) -> Finding:
    """The finding to be told of two runs of one project."""
    return max(one, other, key=lambda finding: (not finding.explained, len(finding.differences)))


def differences(plain: dict[Key, str], testring: dict[Key, str]) -> list[Difference]:
    """Tests whose outcome is not the same, in plain pytest's order, then what it does not have."""
    keys = [*plain, *(key for key in testring if key not in plain)]
    return [
        Difference(key, plain.get(key, MISSING), testring.get(key, MISSING))
        for key in keys
        if plain.get(key) != testring.get(key)
    ]


def explain(
    result: Result, first: Reference, built: Built, arguments: Sequence[str], flags: Sequence[str]
) -> Finding:
    """Compare, and look for the reason of each difference in the suite itself."""
    finding = Finding(differences(first.outcomes, result.outcomes))
    if finding.equal:
        return finding
    second = serial(built, [*flags, *arguments])
    unsteady = {difference.key for difference in differences(first.outcomes, second.outcomes)}
    finding.chance = [entry for entry in finding.differences if entry.key in unsteady]
    left = [entry for entry in finding.differences if entry.key not in unsteady]
    if not left:
        return finding
    options = _without_paths(arguments, modules(result.lines))
    for share in shares(result.lines):
        outcomes = serial(built, [*flags, *options, *share]).outcomes
        finding.order += [entry for entry in left if outcomes.get(entry.key) == entry.testring]
    return finding


def modules(lines: Iterable[dict]) -> list[str]:
    """Modules of a report, each once."""
    return list(dict.fromkeys(line["module"] for line in lines))


def shares(lines: Sequence[dict]) -> list[list[str]]:
    """The modules of each worker, in the order in which it ran them."""
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        for attempt in line["attempts"][:1]:
            begun = found.setdefault(attempt["worker"], {})
            begun[line["module"]] = min(begun.get(line["module"], attempt["at"]), attempt["at"])
    return [sorted(begun, key=lambda module: begun[module]) for begun in found.values()]


def _without_paths(arguments: Sequence[str], ran: Sequence[str]) -> list[str]:
    """Drop the path arguments: the share's modules stand in their place."""

    def is_path(argument: str) -> bool:
        folder = argument.rstrip("/") + "/"
        return not argument.startswith("-") and any(
            module == argument or module.startswith(folder) for module in ran
        )

    return [argument for argument in arguments if not is_path(argument)]


def shown(finding: Finding) -> list[str]:
    """The differences with what is known about each, at most a dozen."""
    chance = {entry.key for entry in finding.chance}
    order = {entry.key for entry in finding.order}
    lines = []
    for entry in finding.differences[:SHOWN]:
        reason = (
            "chance" if entry.key in chance else "order or split" if entry.key in order else "NOT EXPLAINED"
        )
        lines.append(f"  {entry} [{reason}]")
    if len(finding.differences) > SHOWN:
        lines.append(f"  ... and {len(finding.differences) - SHOWN} more")
    return lines
