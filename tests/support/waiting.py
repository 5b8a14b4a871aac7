"""Waiting for a condition, with a deadline and a word about what was waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

_PAUSE = threading.Event()


def until(condition: Callable[[], Value], seconds: float, what: str) -> Value:
    """The first true value of ``condition()``.

    Raises:
        AssertionError: none within ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"after {seconds:g} s still not: {what}"
        _PAUSE.wait(0.03)
