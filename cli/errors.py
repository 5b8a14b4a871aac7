"""Errors of the command line: each is one line for people and one exit code for scripts."""

from __future__ import annotations

OK = 0
TESTS_FAILED = 1
INTERRUPTED = 2
INTERNAL = 3
USAGE = 4
NO_TESTS = 5
"""Exit codes, with pytest's meanings."""


class CommandError(Exception):
    """The command cannot go on; the message says what was wrong, where, and what to do.

    Args:
        exit_code: one of the codes above.
    """

    def __init__(self, message: str, exit_code: int = INTERNAL) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Unreachable(CommandError):
    """No server answers at the address."""
