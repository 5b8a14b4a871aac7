"""What would block the loop runs here: a call in the hub's threadpool, awaited by the calling greenlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

T = TypeVar("T")


def in_pool(function: Callable[..., T], *args: object) -> T:
    """``function(*args)`` in the threadpool, while other greenlets run; it raises what ``function`` raises.

    The function must not touch greenlets, and the pool prints what is raised in it: an expected
    failure is better returned.
    """
    result: T = gevent.get_hub().threadpool.apply(function, args)
    return result
