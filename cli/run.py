"""``testring run``: submit, follow, show, on a server or on a cluster that lives as long as the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli import options, summary
from cli.client import Client
from cli.embedded import Embedded
from cli.errors import INTERRUPTED, OK, CommandError
from cli.progress import follow
from cli.signals import Stopped, stop_signals
from cli.submission import Wanted, send


@click.command(cls=options.PytestArgsCommand)
@click.argument("what", nargs=-1, required=True, metavar="PATH|ZIP|URL...")
@options.server_options(default=None)
@click.option(
    "--workers", type=click.IntRange(min=0), default=None, help="Embedded workers; default: one per core."
)
@click.option(
    "--junit-xml",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the JUnit report to this file.",
)
@options.submission_options
@click.pass_context
def run(
    ctx: click.Context,
    what: tuple[str, ...],
    server: str | None,
    api_token: str,
    workers: int | None,
    junit_xml: Path | None,
    **given: Any,
) -> int:
    """Run the tests of projects and show the result; the exit code is as pytest's.

    Without --server a cluster is started on this machine for this run, and removed afterwards.
    """
    wishes = options.build(given, ctx.meta.get(options.PYTEST_ARGS, []))
    wanted = Wanted.parse(what)
    token = options.git_token(given)
    console = Console()
    try:
        with stop_signals(), _server(server, workers) as (url, watch), Client(url, api_token) as client:
            evaluation = send(client, wanted, wishes, token)
            answer = _followed(client, evaluation, console, watch)
            code = summary.show(client, answer, console)
            if junit_xml is not None:
                _write(client, evaluation, junit_xml)
            return code
    except Stopped:
        click.echo("testring: interrupted", err=True)
        return INTERRUPTED


def _followed(client: Client, evaluation: int, console: Console, watch: Callable[[], None]) -> dict[str, Any]:
    """Follow to the end; when we are stopped, so is the evaluation."""
    try:
        return follow(client, evaluation, console, watch=watch)
    except (Stopped, KeyboardInterrupt):
        client.patience = 2.0
        try:
            client.cancel(evaluation)
        except CommandError as error:
            click.echo(f"testring: evaluation {evaluation} could not be cancelled: {error}", err=True)
        raise


@contextmanager
def _server(url: str | None, workers: int | None) -> Iterator[tuple[str, Callable[[], None]]]:
    """(URL, check) of the server to use; the check raises once a process of ours has died."""
    if url is not None:
        if workers is not None:
            raise click.UsageError("--workers is for an embedded cluster; the server has its own workers")
        yield url, lambda: None
        return
    top = Path(tempfile.mkdtemp(prefix="tr-"))
    # Sessions run under other uids when we are root: they must get through to their own folders.
    top.chmod(0o711)
    (top / "data").mkdir(mode=0o700)
    count = (os.cpu_count() or 1) if workers is None else workers
    cluster = Embedded(top / "data", workers=count, run_dir=top / "r")

    def watch() -> None:
        dead = cluster.dead()
        if dead is not None:
            raise CommandError(f"{dead.name} ended ({dead.how_it_ended()}): {dead.last_words()}")

    try:
        cluster.start()
        yield cluster.url, watch
    finally:
        cluster.stop()
        shutil.rmtree(top, ignore_errors=True)


def _write(client: Client, evaluation: int, path: Path) -> int:
    try:
        with path.open("wb") as file:
            for block in client.report(evaluation, "xml"):
                file.write(block)
    except OSError as error:
        raise CommandError(f"{path}: the report cannot be written: {error.strerror}") from error
    return OK
