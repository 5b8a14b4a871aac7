"""What would block the loop runs here: calls in threads, awaited by the calling greenlet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

T = TypeVar("T")

BULK_THREADS = 8
_here = threading.local()
"""A thread has one hub, and a pool belongs to a hub."""


def in_pool(function: Callable[..., T], *args: object) -> T:
    """``function(*args)`` in the threadpool, while other greenlets run; it raises what ``function`` raises.

    The function must not touch greenlets, and the pool prints what is raised in it: an expected
    failure is better returned.
    """
    result: T = gevent.get_hub().threadpool.apply(function, args)
    return result


def in_bulk(function: Callable[..., T], *args: object) -> T:
    """The same for work on whole trees and archives, which takes seconds, in threads of its own.

    In the hub's pool, as many sessions that open at once as the pool has threads would keep commits,
    answers and the blocks of file streams waiting. Lowering these threads' priority is no help: one that
    the machine does not let run may hold the interpreter, and then the loop waits for it.
    """
    if not hasattr(_here, "bulk"):
        _here.bulk = ThreadPool(BULK_THREADS)
    result: T = _here.bulk.apply(function, args)
    return result
