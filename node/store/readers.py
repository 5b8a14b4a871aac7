"""Connections that only read, lent one at a time to whichever thread asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from node.store.errors import StoreError, translated
from node.store.schema import connect


class Readers:
    """Safe for threads. Opens connections as they are needed and keeps ``most`` of them."""

    def __init__(self, path: Path, *, most: int, busy_seconds: float) -> None:
        self._path = path
        self._most = most
        self._busy_seconds = busy_seconds
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._closed = False

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: everything read belongs to one moment.

        Raises:
            StoreError: the database cannot be read, or is closed.
        """
        if self._closed:
            raise StoreError(f"database {self._path}: closed, the node is stopping")
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = connect(self._path, busy_seconds=self._busy_seconds, query_only=True)
        try:
            with translated(self._path):
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
        except BaseException:
            # Its state is unknown; another is opened when it is needed.
            connection.close()
            raise
        if self._closed or self._idle.qsize() >= self._most:
            connection.close()
        else:
            self._idle.put(connection)

    def close(self) -> None:
        """Close what is idle now; what is lent closes when it comes back."""
        self._closed = True
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return
