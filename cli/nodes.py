"""``testring node`` and ``testring drain``."""

from __future__ import annotations

import os
import sys

import click

from cli import options
from cli.client import Client


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def node(arguments: tuple[str, ...]) -> None:
    """Run one node, as ``python -m node`` does (see ``testring node --help``)."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "node", *arguments])


@click.command()
@click.argument("node_name", metavar="NODE")
@options.server_options()
def drain(node_name: str, server: str, api_token: str) -> None:
    """Let a node (id or HOST:PORT) finish what it runs, hand back the rest, and leave."""
    with Client(server, api_token) as client:
        client.drain(node_name)
    click.echo(f"{node_name} is draining")
