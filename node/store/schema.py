"""The tables, their versions, and how a database is opened.

``PRAGMA user_version`` counts the migrations a database has had. A migration that was released is
never edited: a change is a new one at the end of the list.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from node.store.errors import StoreError, translated

_VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Positions are consecutive; a prefix that nothing needs any more is trimmed.
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    evaluation INTEGER NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    request TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    options BLOB NOT NULL,
    count_skipped INTEGER NOT NULL,
    accepted REAL NOT NULL,
    began REAL,
    ended REAL,
    position INTEGER NOT NULL
);
CREATE INDEX evaluations_by_request ON evaluations (request);
CREATE INDEX evaluations_by_end ON evaluations (ended);
CREATE INDEX evaluations_unfinished ON evaluations (position) WHERE ended IS NULL;

CREATE TABLE projects (
    evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    package TEXT NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,
    mode TEXT NOT NULL DEFAULT '',
    command TEXT NOT NULL DEFAULT '[]',
    versions TEXT NOT NULL DEFAULT '{}',
    notes TEXT NOT NULL DEFAULT '[]',
    phase TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT '',
    audited INTEGER NOT NULL DEFAULT 0,
    confirmed INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (evaluation, number)
) WITHOUT ROWID;
CREATE INDEX projects_by_package ON projects (package);

CREATE TABLE modules (
    id INTEGER PRIMARY KEY,
    evaluation INTEGER NOT NULL,
    project INTEGER NOT NULL,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (evaluation, project, name),
    FOREIGN KEY (evaluation, project) REFERENCES projects (evaluation, number) ON DELETE CASCADE
);

-- One row per planned test, clustered in planned order; outcome is its verdict, standing the log
-- position of the attempt that gave it.
CREATE TABLE tests (
    module INTEGER NOT NULL REFERENCES modules (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    nodeid TEXT NOT NULL,
    occurrence INTEGER NOT NULL,
    outcome TEXT,
    standing INTEGER,
    unconfirmed INTEGER NOT NULL DEFAULT 0,
    split_sensitive INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (module, position)
) WITHOUT ROWID;

CREATE TABLE attempts (
    module INTEGER NOT NULL,
    test INTEGER NOT NULL,
    position INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    node TEXT NOT NULL,
    assignment TEXT NOT NULL,
    at REAL NOT NULL,
    seconds REAL NOT NULL,
    detail BLOB,
    PRIMARY KEY (module, test, position),
    FOREIGN KEY (module, test) REFERENCES tests (module, position) ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE audited (
    package TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    dependent INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (package, fingerprint)
) WITHOUT ROWID;
CREATE INDEX audited_by_position ON audited (position);

CREATE TABLE durations (
    source TEXT NOT NULL,
    module TEXT NOT NULL,
    seconds REAL NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (source, module)
) WITHOUT ROWID;

-- What ended evaluations add up to, for ever; the empty node stands for the whole system.
CREATE TABLE totals (
    node TEXT PRIMARY KEY,
    passed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    modules INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE totals_projects (node TEXT, source TEXT, PRIMARY KEY (node, source)) WITHOUT ROWID;
CREATE TABLE totals_evaluations (node TEXT, evaluation INTEGER, PRIMARY KEY (node, evaluation)) WITHOUT ROWID;
"""

_VERSION_2 = """
-- The log is replicated: a record's epoch is (epoch, node); voters is a JSON list where it names them.
ALTER TABLE log ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN voters TEXT;

CREATE TABLE members (
    node TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    alone INTEGER NOT NULL,
    isolation TEXT NOT NULL,
    position INTEGER NOT NULL
) WITHOUT ROWID;

-- Until now the tables followed the log in the same transaction.
INSERT INTO meta SELECT 'replica', json_object('applied', max(position), 'commit', max(position))
    FROM log HAVING max(position) IS NOT NULL;
"""

_VERSION_3 = """
-- Where in the log an evaluation was ended, and the epoch of the master that ended it.
ALTER TABLE evaluations ADD COLUMN closed INTEGER;
ALTER TABLE evaluations ADD COLUMN closed_counter INTEGER NOT NULL DEFAULT 0;
ALTER TABLE evaluations ADD COLUMN closed_node TEXT NOT NULL DEFAULT '';
UPDATE evaluations SET closed = position WHERE ended IS NOT NULL;

-- Parts of another master's history that have come so far.
CREATE TABLE merging (
    evaluation INTEGER NOT NULL,
    node TEXT NOT NULL,
    history TEXT NOT NULL,
    part INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (evaluation, node, history, part)
) WITHOUT ROWID;

-- What was decided: 'returned' or 'present' stands. kept is the side that does not, state and outcomes (a
-- JSON object) are what it had come to; taken is what stands, while the evaluation goes on.
CREATE TABLE merged (
    evaluation INTEGER NOT NULL,
    node TEXT NOT NULL,
    history TEXT NOT NULL,
    stands TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT '',
    outcomes TEXT NOT NULL DEFAULT '{}',
    kept BLOB,
    taken BLOB,
    PRIMARY KEY (evaluation, node, history)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3)
"""Scripts in order; each brings a database from the version of its index to the next."""

WAL_KEPT = 64 << 20
"""Bytes the write-ahead log may keep on disk after a checkpoint."""
CHECKPOINT_PAGES = 4000


def connect(path: Path, *, busy_seconds: float, query_only: bool = False) -> sqlite3.Connection:
    """A connection with this store's settings; transactions are begun explicitly. No thread owns it.

    Raises:
        StoreError: the file cannot be opened.
    """
    with translated(path):
        connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            # Only an empty file takes auto_vacuum; it lets retention give pages back to the disk.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA query_only = {int(query_only)}")
        except BaseException:
            connection.close()
            raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the database to the newest version, each step in one transaction.

    Raises:
        StoreError: it was written by a newer version, or a step fails (it is then undone).
    """
    with translated(path):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            raise StoreError(
                f"database {path}: its schema is version {version}, this program knows {len(migrations)}: "
                "start the newer program that wrote it, or give another data directory"
            )
        for number, script in enumerate(migrations[version:], start=version + 1):
            try:
                connection.executescript(
                    f"BEGIN EXCLUSIVE; {script}; PRAGMA user_version = {number}; COMMIT;"
                )
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
