"""The ``testring`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from cli import errors, nodes, queries, submission
from cli.run import run
from cli.up import up
from proto.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="testring")
def testring() -> None:
    """Run pytest suites on a ring of nodes: one verdict per test, whatever dies."""


for command in (
    up,
    run,
    submission.submit,
    submission.watch,
    queries.status,
    queries.cancel,
    queries.network,
    queries.stats,
    queries.report,
    nodes.drain,
    nodes.node,
):
    testring.add_command(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code has pytest's meaning (0 ok, 1 failures, 2 interrupted, ...)."""
    try:
        code = testring.main(args=None if argv is None else list(argv), standalone_mode=False)
    except errors.CommandError as error:
        click.echo(f"testring: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return errors.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("testring: interrupted", err=True)
        return errors.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (a pager, head): nothing more to say to it. None is what
        # Python itself has there without a console, and what keeps it from flushing at its end.
        sys.stdout = None  # type: ignore[assignment]
        return errors.OK
    return code if isinstance(code, int) else errors.OK


if __name__ == "__main__":
    sys.exit(main())
