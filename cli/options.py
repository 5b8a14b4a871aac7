"""Flags that describe a submission, shared by ``run`` and ``submit``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from cli.errors import USAGE, CommandError
from proto.messages import Options

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_SERVER = "http://127.0.0.1:8080"
PYTEST_ARGS = "cli.pytest_args"


class PytestArgsCommand(click.Command):
    """A command whose words after ``--`` are pytest's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows the first ``--`` aside."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[PYTEST_ARGS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show them in the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- PYTEST-ARGS...]"]


def server_options(default: str | None = DEFAULT_SERVER) -> Callable[[Function], Function]:
    """``--server`` and ``--api-token``."""

    def decorate(function: Function) -> Function:
        function = click.option(
            "--api-token",
            envvar="TESTRING_API_TOKEN",
            default="",
            help="Bearer token of the server, if it wants one (better: TESTRING_API_TOKEN).",
        )(function)
        return click.option(
            "--server",
            envvar="TESTRING_SERVER",
            default=default,
            show_default=default is not None,
            metavar="URL",
            help="Address of the server (also TESTRING_SERVER).",
        )(function)

    return decorate


_FLAGS = (
    click.option("--name", default="", help="Name of the evaluation."),
    click.option("--extra", "extras", multiple=True, help="Extra of the project to install; repeatable."),
    click.option("--group", "groups", multiple=True, help="Dependency group to install; repeatable."),
    click.option(
        "--requirement", "requirements", multiple=True, help="Requirement to install as well; repeatable."
    ),
    click.option("--constraint", "constraints", multiple=True, help="Version constraint; repeatable."),
    click.option("--python", default="", metavar="VERSION", help="Python to test with, such as 3.12."),
    click.option(
        "--env", "env", multiple=True, metavar="NAME=VALUE", help="Variable for the tests; repeatable."
    ),
    click.option(
        "--timeout-test", type=click.FloatRange(min=0), default=0.0, metavar="SECONDS", help="Per test."
    ),
    click.option(
        "--timeout-evaluation",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="For the whole evaluation.",
    ),
    click.option(
        "--collection",
        type=click.Choice(["auto", "lazy", "whole"]),
        default="auto",
        show_default=True,
        help="How modules are collected.",
    ),
    click.option("--slots", type=click.IntRange(min=0), default=0, help="At most so many slots a project."),
    click.option("--priority", type=int, default=0, help="Higher goes first."),
    click.option("--subdirectory", default="", help="Where in each project the tests are."),
    click.option("--ref", default="", help="Branch, tag or commit to clone."),
    click.option("--count-skipped", is_flag=True, help="Keep skipped tests in the grade's denominator."),
    click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="File with the token for private repositories (or the variable TESTRING_TOKEN).",
    ),
)


def submission_options(function: Function) -> Function:
    """Every option of a submission; the command receives them as keyword arguments for ``build``."""
    for flag in reversed(_FLAGS):
        function = flag(function)
    return function


def build(given: dict[str, Any], pytest_args: list[str]) -> dict[str, Any]:
    """The ``options`` object of a submission, without what was not given.

    Raises:
        CommandError: a value the server would refuse.
    """
    values = {name: value for name, value in given.items() if name not in ("env", "token_file")}
    values["env"] = dict(_variable(entry) for entry in given["env"])
    values["pytest_args"] = pytest_args
    wanted = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value not in ("", (), [], {}, 0, False, "auto")
    }
    try:
        msgspec.convert(wanted, Options)
    except msgspec.ValidationError as error:
        raise CommandError(f"bad option: {error}", USAGE) from error
    return wanted


def git_token(given: dict[str, Any]) -> str:
    """The token for private repositories: from ``--token-file``, else from TESTRING_TOKEN; never printed.

    Raises:
        CommandError: the file cannot be read.
    """
    path: Path | None = given["token_file"]
    if path is None:
        return os.environ.get("TESTRING_TOKEN", "").strip()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--token-file {path}: it cannot be read", USAGE) from error


def _variable(entry: str) -> tuple[str, str]:
    name, equals, value = entry.partition("=")
    if not equals or not name:
        raise CommandError(f"--env {entry!r}: write NAME=VALUE", USAGE)
    return name, value
