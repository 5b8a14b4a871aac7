"""Following an evaluation: a live bar on a terminal, a line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from cli.client import Client

FINAL_STATES = ("finished", "cancelled", "failed")
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 1.0
SHOWN_PROJECTS = 12
"""Projects with a bar of their own; more share one."""


class Display:
    """Shows successive answers of ``GET /evaluation/<id>``; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""
        self._progress: Progress | None = None
        self._tasks: dict[str, Any] = {}
        if console.is_terminal:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )

    def __enter__(self) -> Display:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, answer: dict[str, Any]) -> None:
        """One answer."""
        if self._progress is None:
            line = _line(answer)
            if line != self._said:
                self._said = line
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            return
        projects = answer.get("projects", [])
        rows = [(project["name"], project) for project in projects]
        if len(rows) > SHOWN_PROJECTS or not rows:
            rows = [(f"{len(rows)} projects" if rows else "evaluation", answer)]
        for key, row in rows:
            self._row(self._progress, key, row)

    def _row(self, progress: Progress, key: str, row: dict[str, Any]) -> None:
        if key not in self._tasks:
            self._tasks[key] = progress.add_task("", total=None, note="")
        tests = row["tests"]
        progress.update(
            self._tasks[key],
            description=f"{key.replace('[', chr(92) + '[')}: {row['state']}",
            total=tests["total"] or None,
            completed=tests["executed"],
            note=f"[red]{row['failed']:.1f}% failed" if row["failed"] else "",
        )


def _line(answer: dict[str, Any]) -> str:
    """The state and, in tenths of the way, how far it is: few lines in a log."""
    tests = answer["tests"]
    tenth = 10 * tests["executed"] // tests["total"] if tests["total"] else 0
    line = f"evaluation {answer['id']}: {answer['state']}"
    waits = answer.get("detail")
    if answer["state"] == "running":
        line += f", {10 * tenth}% of the tests executed"
    return f"{line} ({waits})" if waits and answer["state"] not in FINAL_STATES else line


def follow(
    client: Client,
    evaluation: int,
    console: Console,
    *,
    watch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The last answer, once the evaluation has ended.

    Args:
        watch: called between two answers; may raise to give up (a child of ours died).
    """
    pause = FIRST_PAUSE
    with Display(console) as display:
        while True:
            answer = client.evaluation(evaluation)
            display.show(answer)
            if answer["state"] in FINAL_STATES:
                return answer
            watch()
            time.sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)
