"""Group commit: records gather for a moment and become durable together.

One greenlet writes, in the threadpool; a batch is one transaction. ``Committed`` is posted only
after the transaction's sync, so nothing that waits for it can tell the outside too early.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event as Flag

from node.core.effects import Append
from node.core.records import AnyRecord

log = logging.getLogger("testring.journal")

GATHER = 0.005
"""Seconds the first record of a batch waits for company."""
LARGEST = 500
"""Records of one transaction: larger ones hold readers up."""


class Durable(Protocol):
    """The part of the store the journal needs."""

    def append(self, epoch: int, first: int, records: tuple[AnyRecord, ...]) -> None: ...


class Journal:
    """Writes ``Append`` effects in order.

    Args:
        store: what makes them durable.
        committed: called with the last position of each durable batch.
        failed: called once if the store refuses; nothing is acknowledged after that.
    """

    def __init__(
        self,
        store: Durable,
        epoch: Callable[[], int],
        committed: Callable[[int], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._epoch = epoch
        self._committed = committed
        self._failed = failed
        self._waiting: deque[tuple[int, tuple[AnyRecord, ...]]] = deque()
        self._wake = Flag()
        self._idle = Flag()
        self._idle.set()
        self._closed = False

    def append(self, effect: Append) -> None:
        """Queue the records of one effect; they take the positions up to ``effect.position``."""
        self._waiting.append((effect.position - len(effect.records) + 1, effect.records))
        self._idle.clear()
        self._wake.set()

    def run(self) -> None:
        """Write until ``close``."""
        while not self._closed or self._waiting:
            if not self._waiting:
                self._idle.set()
                self._wake.wait()
                self._wake.clear()
                gevent.sleep(GATHER)
                continue
            first, records = self._batch()
            try:
                gevent.get_hub().threadpool.apply(self._store.append, (self._epoch(), first, records))
            except Exception as error:  # noqa: BLE001 - whatever the store says ends this master
                log.error("the journal cannot be written: %s", error)
                self._failed(error)
                return
            self._committed(first + len(records) - 1)
        self._idle.set()

    def _batch(self) -> tuple[int, tuple[AnyRecord, ...]]:
        first, records = self._waiting.popleft()
        batch = list(records)
        while self._waiting and len(batch) < LARGEST:
            batch.extend(self._waiting.popleft()[1])
        return first, tuple(batch)

    def close(self, seconds: float = 10.0) -> None:
        """Write what is queued and stop."""
        self._closed = True
        self._wake.set()
        self._idle.wait(seconds)
