"""Commands that ask a server one question: ``status cancel network stats report``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli import options, summary
from cli.client import Client
from cli.errors import CommandError

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as it is.")


@click.command()
@click.argument("evaluation", type=click.IntRange(min=0), required=False)
@options.server_options()
@_as_json
def status(evaluation: int | None, server: str, api_token: str, as_json: bool) -> None:
    """Show one evaluation, or the list of all."""
    with Client(server, api_token) as client:
        answer = client.get("/evaluation") if evaluation is None else client.evaluation(evaluation)
    if as_json:
        _print_json(answer)
    elif evaluation is not None:
        tests = answer["tests"]
        Console().print(summary.grades(answer))
        click.echo(
            f"{answer['state']}: {tests['executed']} of {tests['total']} tests executed, "
            f"{tests['running']} running, {tests['pending']} pending, {answer['seconds']:.1f} s"
            + (f"; {answer['detail']}" if answer.get("detail") else "")
        )
    else:
        Console().print(_evaluations(answer["evaluations"]))


@click.command()
@click.argument("evaluation", type=click.IntRange(min=0))
@options.server_options()
def cancel(evaluation: int, server: str, api_token: str) -> None:
    """Stop an evaluation on every worker."""
    with Client(server, api_token) as client:
        answer = client.cancel(evaluation)
    click.echo(f"evaluation {evaluation}: {answer.get('state', 'cancelled')}")


@click.command()
@options.server_options()
@_as_json
def network(server: str, api_token: str, as_json: bool) -> None:
    """Show each node and the nodes it is connected to."""
    with Client(server, api_token) as client:
        answer = client.get("/network")
    if as_json:
        _print_json(answer)
        return
    table = Table("node", "connected to")
    for address, neighbours in answer.items():
        table.add_row(address, ", ".join(neighbours))
    Console().print(table)


@click.command()
@options.server_options()
@_as_json
def stats(server: str, api_token: str, as_json: bool) -> None:
    """Show what was executed, in all and by each node."""
    with Client(server, api_token) as client:
        answer = client.get("/stats")
    if as_json:
        _print_json(answer)
    else:
        Console().print(stats_table(answer))


@click.command()
@click.argument("evaluation", type=click.IntRange(min=0))
@click.option("--format", "kind", type=click.Choice(["xml", "jsonl"]), default="xml", show_default=True)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File to write; default: stdout."
)
@options.server_options()
def report(evaluation: int, kind: str, output: Path | None, server: str, api_token: str) -> None:
    """Write a report: JUnit XML, or one JSON line per verdict."""
    with Client(server, api_token) as client:
        blocks = client.report(evaluation, kind)
        if output is None:
            for block in blocks:
                sys.stdout.buffer.write(block)
            sys.stdout.buffer.flush()
            return
        try:
            with output.open("wb") as file:
                for block in blocks:
                    file.write(block)
        except OSError as error:
            raise CommandError(f"{output}: the report cannot be written: {error.strerror}") from error


def stats_table(answer: dict[str, Any]) -> Table:
    """``/stats`` as a table: a row per node, then the sum since the system began."""
    names = ("passed", "failed", "modules", "projects", "evaluations")
    table = Table("node", *names)
    for entry in answer["nodes"]:
        values = {**entry, "evaluations": len(entry["evaluations"])}
        table.add_row(entry["address"], *(str(values[name]) for name in names))
    table.add_section()
    table.add_row("all", *(str(answer["all"].get(name, "")) for name in names))
    return table


def _evaluations(rows: list[dict[str, Any]]) -> Table:
    table = Table("id", "name", "state", "grade")
    for row in rows:
        grade = row.get("grade")
        table.add_row(
            str(row["id"]),
            escape(str(row.get("name", ""))),
            row["state"],
            f"{grade:.2f}" if isinstance(grade, int | float) else "",
        )
    return table


def _print_json(answer: Any) -> None:
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
