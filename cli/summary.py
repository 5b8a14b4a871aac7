"""What a run ends with: failures with their tracebacks, grades, one closing line, an exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from cli.client import Client
from cli.errors import INTERNAL, INTERRUPTED, NO_TESTS, OK, TESTS_FAILED

BAD = ("failed", "error", "timeout", "crashed", "lost", "notrun")
WORDS = ("failed", "error", "timeout", "crashed", "lost", "notrun", "passed", "skipped", "xfailed", "xpassed")
"""Outcomes in the order of the closing line."""
SHOWN_FAILURES = 100
SHOWN_CHARACTERS = 20_000
"""Of one failure's traceback and output; the rest is in the reports."""


def outcomes(client: Client, evaluation: int) -> Counter[str]:
    """How many verdicts of each outcome."""
    return Counter(line["outcome"] for line in client.verdicts(evaluation))


def exit_code(state: str, counts: Mapping[str, int]) -> int:
    """pytest's exit code for an evaluation that ended in ``state``."""
    if state == "cancelled":
        return INTERRUPTED
    if any(counts.get(outcome) for outcome in BAD):
        return TESTS_FAILED
    if state == "failed":
        return INTERNAL
    return OK if sum(counts.values()) else NO_TESTS


def show(client: Client, answer: dict[str, Any], console: Console) -> int:
    """Print the end of an evaluation; its exit code."""
    evaluation = int(answer["id"])
    counts = outcomes(client, evaluation)
    _failures(client, evaluation, counts, console)
    console.print(grades(answer))
    _notes(answer, console)
    code = exit_code(answer["state"], counts)
    console.print(Rule(closing_line(answer, counts), style="green" if code == OK else "red"))
    return code


def closing_line(answer: dict[str, Any], counts: Mapping[str, int]) -> str:
    """``2 failed, 30 passed in 3.21s``, like pytest's."""
    parts = [f"{counts[word]} {word}" for word in WORDS if counts.get(word)] or ["no tests ran"]
    state = "" if answer["state"] == "finished" else f" ({answer['state']})"
    return f"{', '.join(parts)} in {answer['seconds']:.2f}s{state}"


def grades(answer: dict[str, Any]) -> Table:
    """The projects, a row each."""
    table = Table(title=f"evaluation {answer['id']}", title_justify="left")
    table.add_column("project", overflow="fold")
    table.add_column("state")
    for name in ("tests", "passed", "failed", "grade"):
        table.add_column(name, justify="right")
    for project in answer.get("projects", []):
        table.add_row(
            escape(project["name"]),
            project["state"],
            str(project["tests"]["total"]),
            f"{project['passed']:.1f}%",
            f"{project['failed']:.1f}%",
            f"{project['grade']:.2f}",
        )
    table.caption = f"grade {answer['grade']:.2f} of 20"
    return table


def _failures(client: Client, evaluation: int, counts: Counter[str], console: Console) -> None:
    total = sum(counts[outcome] for outcome in BAD)
    if not total:
        return
    console.print(Rule("failures", characters="="))
    left = SHOWN_FAILURES
    for outcome in BAD:
        if not counts[outcome] or not left:
            continue
        for test in client.tests(evaluation, outcome):
            _failure(test, console)
            left -= 1
            if not left:
                break
    if total > SHOWN_FAILURES:
        console.print(
            f"... and {total - SHOWN_FAILURES} more: testring report {evaluation} --format jsonl",
            markup=False,
        )


def _failure(test: dict[str, Any], console: Console) -> None:
    occurrence = f" (occurrence {test['occurrence']})" if test.get("occurrence") else ""
    console.print(
        Rule(escape(f"{test['outcome']}: {test['project']} {test['nodeid']}{occurrence}"), style="red")
    )
    shown = False
    for key, title in (("traceback", ""), ("output", "---- captured output ----")):
        text = test.get(key) or ""
        if text.strip():
            shown = shown or key == "traceback"
            if title:
                console.print(title, markup=False)
            console.print(_cut(text.rstrip("\n")), markup=False, highlight=False, soft_wrap=True)
    if not shown and test.get("message"):
        console.print(_cut(test["message"]), markup=False, highlight=False, soft_wrap=True)


def _notes(answer: dict[str, Any], console: Console) -> None:
    """What the server says about the run: unaudited, an adapted configuration, why it could not run."""
    rows = [("", answer), *((project["name"], project) for project in answer.get("projects", []))]
    for name, row in rows:
        notes = row.get("notes") or []
        detail = row.get("detail")
        for note in [*([detail] if detail else []), *notes]:
            console.print(f"note: {name + ': ' if name else ''}{note}", markup=False, soft_wrap=True)


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
