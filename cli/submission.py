"""``testring submit`` and ``testring watch``, and what ``run`` shares with them."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli import options, packing, summary
from cli.client import Client
from cli.errors import USAGE, CommandError
from cli.progress import follow

URL_SCHEMES = ("https://", "http://")


@dataclass(frozen=True)
class Wanted:
    """What the words of a command line name: git URLs, one zip, or directories."""

    urls: tuple[str, ...] = ()
    archive: Path | None = None
    directories: tuple[Path, ...] = ()

    @classmethod
    def parse(cls, words: tuple[str, ...]) -> Wanted:
        """Sort the words out.

        Raises:
            CommandError: something does not exist, or kinds are mixed.
        """
        urls = tuple(word for word in words if word.startswith(URL_SCHEMES))
        paths = [Path(word) for word in words if not word.startswith(URL_SCHEMES)]
        for path in paths:
            if not path.exists():
                raise CommandError(f"{path}: there is no such file or directory", USAGE)
        directories = tuple(path for path in paths if path.is_dir())
        archives = [path for path in paths if not path.is_dir()]
        if len(archives) > 1 or sum(map(bool, (urls, directories, archives))) > 1:
            raise CommandError("give git URLs, or one zip, or directories: they cannot be mixed", USAGE)
        for path in archives:
            if not zipfile.is_zipfile(path):
                raise CommandError(f"{path}: it is neither a directory nor a zip archive", USAGE)
        return cls(urls, archives[0] if archives else None, directories)


def send(client: Client, wanted: Wanted, wishes: dict[str, Any], token: str) -> int:
    """Submit; the evaluation's id."""
    if wanted.urls:
        return int(client.submit_projects(list(wanted.urls), token, wishes)["id"])
    if wanted.archive is not None:
        return int(client.submit_archive(wanted.archive, wishes)["id"])
    with tempfile.TemporaryDirectory(prefix="testring-") as scratch:
        name = wanted.directories[0].resolve().name or "project"
        archive = Path(scratch) / (f"{name}.zip" if len(wanted.directories) == 1 else "projects.zip")
        packing.pack(wanted.directories, archive)
        return int(client.submit_archive(archive, wishes)["id"])


@click.command(cls=options.PytestArgsCommand)
@click.argument("what", nargs=-1, required=True, metavar="PATH|ZIP|URL...")
@options.server_options()
@options.submission_options
@click.pass_context
def submit(ctx: click.Context, what: tuple[str, ...], server: str, api_token: str, **given: Any) -> None:
    """Submit projects to a server and print the evaluation's id."""
    wishes = options.build(given, ctx.meta.get(options.PYTEST_ARGS, []))
    wanted = Wanted.parse(what)
    with Client(server, api_token) as client:
        click.echo(send(client, wanted, wishes, options.git_token(given)))


@click.command()
@click.argument("evaluation", type=click.IntRange(min=0))
@options.server_options()
def watch(evaluation: int, server: str, api_token: str) -> int:
    """Follow an evaluation to its end; the exit code is as pytest's."""
    console = Console()
    with Client(server, api_token) as client:
        return summary.show(client, follow(client, evaluation, console), console)
