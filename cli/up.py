"""``testring up``: a cluster on this machine until Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.embedded import Embedded
from cli.errors import INTERNAL, OK
from cli.signals import Stopped, stop_signals

WATCH_SECONDS = 0.5


@click.command()
@click.option(
    "--workers", type=click.IntRange(min=0), default=2, show_default=True, help="Nodes beside the master."
)
@click.option(
    "--slots", type=click.IntRange(min=1), default=1, show_default=True, help="Sessions of each worker."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="Port of the HTTP service.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the HTTP service listens.")
@click.option(
    "--listen", default="127.0.0.1:7000", show_default=True, help="Where other nodes join the master."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("test_results"),
    show_default=True,
    help="Where results are kept.",
)
def up(workers: int, slots: int, port: int, host: str, listen: str, data: Path) -> int:
    """Start a master, workers and the HTTP service here; one Ctrl-C stops all."""
    cluster = Embedded(data, workers=workers, slots=slots, listen=listen, bind=f"{host}:{port}")
    try:
        with stop_signals(), cluster:
            cluster.start()
            click.echo(_welcome(cluster, workers))
            _watch(cluster)
    except Stopped:
        click.echo("stopped")
        return OK
    return INTERNAL


def _watch(cluster: Embedded) -> None:
    """Report processes that die; return when the cluster cannot go on without one."""
    while True:
        dead = cluster.dead()
        if dead is not None:
            click.echo(f"testring: {dead.name} ended ({dead.how_it_ended()}): {dead.last_words()}", err=True)
            if not dead.name.startswith("worker"):
                return
            cluster.forget(dead)
        time.sleep(WATCH_SECONDS)


def _welcome(cluster: Embedded, workers: int) -> str:
    nodes = f"master at {cluster.master_address} and {workers} worker{'' if workers == 1 else 's'}"
    return f"""Testring is up: {cluster.url} ({nodes})
Results are kept in {cluster.data}, logs in {cluster.data / "logs"}

  curl -X POST {cluster.url}/evaluation -F "file=@all_projects.zip"
  curl -X POST {cluster.url}/evaluation -H "Content-Type: application/json" \\
       -d '{{"auth_token": "t", "projects": ["https://github.com/user/repo"]}}'
  curl {cluster.url}/evaluation/ID
  testring run PATH --server {cluster.url}

Another worker: testring node --join {cluster.master_address} --listen 127.0.0.1:0
Ctrl-C stops everything."""
