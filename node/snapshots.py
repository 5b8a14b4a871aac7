"""Copies of the tables between those who hold the log: made for others, fetched from others."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from node.core import events as ev
from node.core.voting_events import FetchSnapshot, SnapshotFetched
from node.journal import Journal
from node.net import transfer
from node.net.wire import Wire
from node.store import Store, StoreError
from node.store.snapshot import describe
from node.threads import in_bulk, in_pool
from proto.errors import ProtocolError

log = logging.getLogger("testring.snapshots")

LARGEST = 64 << 30
"""Bytes of a copy that are taken in."""


class Snapshots:
    """Files are made in ``directory`` and do not outlive their use."""

    def __init__(
        self,
        store: Store,
        directory: Path,
        journal: Journal,
        post: Callable[[ev.AnyEvent], None],
        dial: Callable[[str], Wire],
    ) -> None:
        self._store = store
        self._directory = directory
        self._journal = journal
        self._post = post
        self._dial = dial
        self._fetching = False
        for stale in directory.glob("state-*"):
            stale.unlink(missing_ok=True)

    @contextmanager
    def copy(self) -> Iterator[tuple[Path, str]]:
        """A fresh copy of what the tables hold, and its sha256."""
        path = self._path()
        try:
            yield path, in_bulk(self._make, path)
        finally:
            path.unlink(missing_ok=True)

    def fetch(self, effect: FetchSnapshot) -> None:
        """Bring another node's copy here; one at a time, asked for again by the master until it is there."""
        if not self._fetching:
            self._fetching = True
            gevent.spawn(self._fetch, effect)

    def _fetch(self, effect: FetchSnapshot) -> None:
        path = self._path()
        try:
            with self._dial(effect.node) as wire:
                transfer.fetch_state(wire, effect.upto.position, path, limit=LARGEST)
            upto, voters = in_pool(describe, path)
        except (OSError, ProtocolError, StoreError, transfer.TransferError) as error:
            log.warning("the state of %s could not be fetched: %s", effect.node, error)
            path.unlink(missing_ok=True)
        else:
            self._journal.offer(upto, path)
            self._post(SnapshotFetched(upto=upto, voters=voters))
        finally:
            self._fetching = False

    def _make(self, path: Path) -> str:
        self._store.copy(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _path(self) -> Path:
        return self._directory / f"state-{secrets.token_hex(8)}"
