"""SIGINT and SIGTERM as one exception, raised once; a second signal means now."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """We were asked to stop. Not an ``Exception``: nothing may take it for a failed step."""


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM raises ``Stopped``; later ones are ignored there."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
