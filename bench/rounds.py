"""Interleaved rounds, medians and tables: how every figure here is made."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence


def interleaved(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way measured, one value per round.

    Ways take turns inside a round and the first one changes from round to round, so that whatever
    else the machine does falls on all of them alike.
    """
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            found[name].append(ways[name]())
    return found


def median(values: Sequence[float], digits: int = 1) -> str:
    """``median (lowest to highest)``."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratio(values: Sequence[float], base: Sequence[float]) -> str:
    """Median of the per-round ratios."""
    return f"{statistics.median(a / b for a, b in zip(values, base, strict=True)):.2f}"


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table under a heading."""
    lines = [f"### {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def load() -> str:
    """The machine's load average over a minute, and its cores."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
