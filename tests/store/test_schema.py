"""Opening: versions and migrations, and every way a file can be unusable."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from node import views
from node.store import Store, StoreError, StoreSettings
from node.store.errors import translated
from node.store.schema import MIGRATIONS, connect, migrate
from tests.store.story import Story

VERSION_1 = Path(__file__).parent / "fixtures" / "version1.sql"
"""A database as the first release wrote it: evaluation 12345 finished, 12346 running."""


@pytest.fixture
def version_1(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    return path


def _version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_a_new_database_has_the_newest_version(store: Store) -> None:
    assert _version(store.path) == len(MIGRATIONS)


def test_settings_of_a_connection(path: Path) -> None:
    connection = connect(path, busy_seconds=3.0)
    settings = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    connection.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 3000}


def test_a_database_of_version_1_still_answers(version_1: Path) -> None:
    store = Store(version_1)
    try:
        assert _version(version_1) == len(MIGRATIONS)
        rows = store.evaluation(12345)
        assert rows is not None
        view = views.evaluation_view(rows, {}, 0.0)
        assert (view["state"], view["passed"], view["grade"]) == ("finished", 75.0, 15.0)
        page = store.tests(12345, state="failed")
        assert page is not None
        assert [attempt.detail.message for attempt in page.tests[0].attempts] == ["assert 1 == 2"]
        assert store.stats().all.evaluations == {12345, 12346}
        records, highest, _ = store.replay()
        assert highest == 12346
        assert {record.evaluation for record in records} == {12346}
        story = Story(store)
        story.evaluation = 12346
        story.tell(story.attempt("b.py", 1, "passed"))
        story.end()
        assert store.stats().all.passed == 5
    finally:
        store.close()


def test_migrations_run_in_order_and_once(version_1: Path) -> None:
    steps = (
        *MIGRATIONS,
        "ALTER TABLE evaluations ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
        "UPDATE evaluations SET owner = 'nobody'",
    )
    connection = connect(version_1, busy_seconds=1.0)
    migrate(connection, version_1, steps)
    migrate(connection, version_1, steps)
    assert connection.execute("SELECT DISTINCT owner FROM evaluations").fetchall() == [("nobody",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    connection.close()


def test_a_migration_that_fails_is_undone(version_1: Path) -> None:
    steps = (*MIGRATIONS, "CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1)")
    connection = connect(version_1, busy_seconds=1.0)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        migrate(connection, version_1, steps)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'extra'").fetchone() == (0,)
    connection.close()


def test_a_newer_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="its schema is version 99, this program knows"):
        Store(path)


def test_not_a_database(path: Path) -> None:
    path.write_bytes(b"no database at all, " * 100)
    with pytest.raises(StoreError, match="this is not a database"):
        Store(path)


def test_a_damaged_database(store: Store, story: Story) -> None:
    story.accept()
    story.run({"a.py": "." * 300})
    store.close()
    # Everything but the first page, which says what the file is.
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(StoreError, match=r"testring\.db: it is damaged: restore a copy"):
        Store(store.path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="it cannot be opened: check that its directory exists"):
        Store(tmp_path / "missing" / "testring.db")


def test_a_full_disk_is_one_clear_error_and_loses_nothing(store: Store, story: Story) -> None:
    story.accept()
    story.plan({"a.py": 500})
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    before = story.position
    with pytest.raises(StoreError, match=r"database .*testring\.db: the disk is full: free space"):
        story.tell(*(story.attempt("a.py", n, "failed", output=os.urandom(2000).hex()) for n in range(500)))
    assert store.applied() == before
    rows = store.evaluation(12345)
    assert rows is not None
    assert rows.projects[0].modules[0].outcomes == {}
    store._connection.execute("PRAGMA max_page_count = 1000000")
    story.tell(story.attempt("a.py", 0, "passed"))
    assert store.applied() == before + 1


def test_a_database_held_by_another(path: Path) -> None:
    store = Store(path, StoreSettings(busy_seconds=0.05))
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds it"):
            Story(store).accept()
        other.execute("ROLLBACK")
        Story(store).accept()
    finally:
        other.close()
        store.close()


def test_a_closed_store_says_so(path: Path) -> None:
    store = Store(path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.evaluations()


def test_other_errors_keep_sqlites_words(path: Path) -> None:
    with pytest.raises(StoreError, match="no such thing"), translated(path):
        raise sqlite3.OperationalError("no such thing")
