"""One error for whatever SQLite says, with the remedy; translated once, here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreError(Exception):
    """The database cannot be used; the message says why and what to do."""


class OutOfStep(StoreError):
    """Records do not follow what the log holds, so nothing of them was written."""


_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full: free space or lower the retention settings, then restart",
    sqlite3.SQLITE_BUSY: "another process holds it: two nodes must not use one database; stop the other",
    sqlite3.SQLITE_LOCKED: "another process holds it: two nodes must not use one database; stop the other",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore a copy, or move it away to start with an empty one",
    sqlite3.SQLITE_NOTADB: "this is not a database: restore a copy, or move it away",
    sqlite3.SQLITE_READONLY: "it may not be written: mend the permissions of the file and its directory",
    sqlite3.SQLITE_PERM: "it may not be opened: mend the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that its directory exists and may be written",
    sqlite3.SQLITE_IOERR: "the disk fails: check the system's log and the free space",
}
"""Primary result code -> what it means for people. Extended codes carry the primary in the low byte."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise ``StoreError`` for every ``sqlite3.Error`` of the body; ``path`` is the database."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        known = None if code is None else _REMEDIES.get(code & 0xFF)
        raise StoreError(f"database {path}: {known or error}") from error
