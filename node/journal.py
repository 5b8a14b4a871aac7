"""Group commit: what the log wants written gathers for a moment and reaches the disk together.

One greenlet writes, in the threadpool; a batch is one transaction. ``Persisted`` and ``Committed``
are posted only after it, so nothing that waits for them can tell the outside too early.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent.event import Event as Flag

from node.core import effects as fx
from node.core import events as ev
from node.core.voting_events import Commit, Compacted, Persist, Persisted, TruncateTail
from node.store import Store, Written
from node.threads import in_bulk, in_pool
from proto.voting import Mark

log = logging.getLogger("testring.journal")

GATHER = 0.003
"""Seconds the first effect of a batch waits for company."""
LARGEST = 500
"""Records of one transaction: larger ones hold readers up."""

MOST_SNAPSHOTS = 3
"""Fetched copies that wait to be installed; the oldest goes."""

ALONE = fx.Load | TruncateTail
"""What is carried out between two batches."""
Wanted = Persist | Commit | ALONE


class Journal:
    """Carries out ``Persist``, ``Commit``, ``Load`` and ``TruncateTail``, in order.

    Args:
        post: the node's inbox.
        written: called with what each transaction came to.
        failed: called once if the store refuses; nothing is acknowledged after that.
        parted: called when what was committed here, and is not the cluster's, was set aside.
    """

    def __init__(
        self,
        store: Store,
        post: Callable[[ev.AnyEvent], None],
        written: Callable[[Written], None],
        failed: Callable[[Exception], None],
        parted: Callable[[], None],
    ) -> None:
        self._store = store
        self._post = post
        self._written = written
        self._failed = failed
        self._parted = parted
        self._waiting: deque[Wanted] = deque()
        self._snapshots: dict[Mark, Path] = {}
        self._wake = Flag()
        self._idle = Flag()
        self._idle.set()
        self._closed = self._sealed = False

    def seal(self) -> None:
        """Write nothing more: not even what is queued."""
        self._sealed = True
        self._waiting.clear()

    def put(self, effect: Wanted) -> None:
        """Queue one effect; never blocks."""
        if self._sealed:
            return
        self._waiting.append(effect)
        self._idle.clear()
        self._wake.set()

    def offer(self, upto: Mark, path: Path) -> None:
        """A fetched copy of another node's tables, for the ``Persist`` that will name it."""
        self._snapshots[upto] = path
        while len(self._snapshots) > MOST_SNAPSHOTS:
            self._snapshots.pop(next(iter(self._snapshots))).unlink(missing_ok=True)

    def run(self) -> None:
        """Write until ``close``."""
        while not self._closed or self._waiting:
            if not self._waiting:
                self._idle.set()
                self._wake.wait()
                self._wake.clear()
                gevent.sleep(GATHER)
                continue
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - whatever the store says ends this node's part
                self.seal()
                self._failed(error)
                break
        self._idle.set()

    def _turn(self) -> None:
        first = self._waiting[0]
        if isinstance(first, ALONE):
            self._waiting.popleft()
            if isinstance(first, fx.Load):
                self._load(first)
            elif first.committed:
                in_bulk(self._store.part, first.truncate_from)
                self._parted()
            return
        batch = self._batch()
        snapshot = next((one.snapshot for one in batch if isinstance(one, Persist)), None)
        path = self._snapshots.pop(snapshot, None) if snapshot is not None else None
        written: Written = in_pool(self._store.write, batch, path)
        if path is not None:
            path.unlink(missing_ok=True)
        numbers = [one.number for one in batch if isinstance(one, Persist)]
        if numbers:
            self._post(Persisted(number=numbers[-1]))
        if written.compacted:
            self._post(Compacted(position=written.compacted))
        self._post(ev.Committed(position=written.applied))
        self._written(written)

    def _load(self, effect: fx.Load) -> None:
        replay = in_pool(self._store.replay)
        self._post(
            ev.Replayed(
                epoch=effect.epoch,
                records=tuple(replay.records),
                highest=replay.highest,
                members=tuple(replay.members),
                at=time.time(),
            )
        )

    def _batch(self) -> list[Persist | Commit]:
        batch: list[Persist | Commit] = []
        records = 0
        while self._waiting and records < LARGEST:
            following = self._waiting[0]
            if isinstance(following, ALONE):
                break
            # A copy is installed in a transaction of its own.
            if batch and isinstance(following, Persist) and following.snapshot is not None:
                break
            self._waiting.popleft()
            batch.append(following)
            records += len(following.records)
            if isinstance(following, Persist) and following.snapshot is not None:
                break
        return batch

    def close(self, seconds: float = 10.0) -> None:
        """Write what is queued and stop."""
        self._closed = True
        self._wake.set()
        self._idle.wait(seconds)
