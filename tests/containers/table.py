"""Steps with a deadline each, and the table that reports them."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROWS: list[Row] = []
"""What was run, in order."""


@dataclass
class Row:
    """One step; ``seconds`` and ``limit`` are wall times, ``detail`` what it measured."""

    name: str
    limit: float
    seconds: float = 0.0
    passed: bool = False
    detail: str = ""

    @property
    def result(self) -> str:
        return "pass" if self.passed else "FAIL"


class Overdue(AssertionError):
    """A step was not over at its deadline."""


def within(seconds: float, name: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a test a row of the table: it fails ``seconds`` after its start, whatever it waits for.

    What the test returns is shown as its row's detail.
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(test)
        def bounded(*arguments: Any, **named: Any) -> None:
            row = Row(name, seconds)
            ROWS.append(row)
            started = time.monotonic()
            before = signal.signal(signal.SIGALRM, _overdue(name, seconds))
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                row.detail = str(test(*arguments, **named) or "")
                row.passed = True
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
                row.seconds = time.monotonic() - started

        return bounded

    return decorate


def _overdue(name: str, seconds: float) -> Callable[..., None]:
    def ring(*_: object) -> None:
        raise Overdue(f"{name}: not over after {seconds:g} s")

    return ring


def lines() -> list[str]:
    """The table as text."""
    width = max((len(row.name) for row in ROWS), default=4)
    head = f"{'step':{width}}  {'seconds':>7}  {'limit':>5}  result  detail"
    body = [
        f"{row.name:{width}}  {row.seconds:7.1f}  {row.limit:5.0f}  {row.result:6}  {row.detail}"
        for row in ROWS
    ]
    total = sum(row.seconds for row in ROWS)
    return [head, *body, f"{'all':{width}}  {total:7.1f}"]
