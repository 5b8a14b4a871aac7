"""What can go wrong before a project's first test."""

from __future__ import annotations


class BuildError(Exception):
    """No environment for this project. The message is one line; ``log`` is what the tools said, bounded."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class InterpreterError(Exception):
    """No Python that tests could run with; the message says what to do."""
