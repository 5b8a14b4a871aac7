"""Retention: by age, by size, never what is unfinished; packages nobody needs are named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from node.core import records as rec
from node.store import Store, StoreSettings
from node.store.retention import DAY
from tests.store.story import Story

SHARED, OWN, KEPT = "1" * 64, "2" * 64, "3" * 64


def _retained(path: Path, now: float, **settings: float) -> tuple[list[int], frozenset[str]]:
    """Ids that are left, newest first, and the packages that are not needed any more."""
    store = Store(path, StoreSettings(**settings))  # type: ignore[arg-type]
    try:
        packages = store.retain(now)
        return [row.id for row in store.evaluations()], packages
    finally:
        store.close()


def _upload(package: str) -> rec.Source:
    return rec.Source(name="p", package=package)


def test_age(store: Store, story: Story) -> None:
    story.accept(1, _upload(OWN), _upload(SHARED))
    story.run({"a.py": ".F"})
    story.end(at=10 * DAY, projects=2)
    story.accept(2, _upload(SHARED))
    story.end(at=20 * DAY)
    assert _retained(store.path, now=15 * DAY, retention_days=6.0) == ([2, 1], frozenset())
    assert _retained(store.path, now=17 * DAY, retention_days=6.0) == ([2], frozenset({OWN}))
    assert _retained(store.path, now=30 * DAY, retention_days=6.0) == ([], frozenset({SHARED}))
    connection = sqlite3.connect(store.path)
    for table in ("projects", "modules", "tests", "attempts", "durations"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    connection.close()


def test_unfinished_evaluations_are_never_touched(store: Store, story: Story) -> None:
    story.accept(1, _upload(KEPT))
    story.accept(2, _upload(OWN))
    story.end(at=100.0)
    left, packages = _retained(store.path, now=1e9, retention_days=0.0, retention_size=0)
    assert (left, packages) == ([1], frozenset({OWN}))


def test_size_takes_the_oldest_first_and_gives_the_disk_its_pages_back(store: Store, story: Story) -> None:
    # Text that does not compress well enough to hide.
    texts = ["".join(chr(33 + (n * n * seed + n) % 90) for n in range(30_000)) for seed in range(1, 21)]
    for number in (1, 2, 3):
        story.accept(number)
        story.plan({"a.py": 20})
        story.tell(*(story.attempt("a.py", n, "failed", output=f"{number}{texts[n]}") for n in range(20)))
        story.end(at=100.0 + number)
    store.close()
    connection = sqlite3.connect(store.path)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    left, _ = _retained(store.path, now=200.0, retention_size=pages * size - 1)
    assert left == [3, 2]
    connection = sqlite3.connect(store.path)
    assert connection.execute("PRAGMA page_count").fetchone()[0] < pages
    connection.close()


def test_an_id_is_never_given_twice(store: Store, story: Story) -> None:
    story.accept(41)
    story.end()
    assert _retained(store.path, now=1e9, retention_days=1.0)[0] == []
    again = Store(store.path)
    assert again.replay() == ([], 41, [])
    again.close()


def test_appends_go_on_after_retention(path: Path) -> None:
    store = Store(path, StoreSettings(retention_days=0.0))
    try:
        story = Story(store)
        story.accept(1)
        story.run({"a.py": "."})
        story.end()
        store.retain(1e9)
        story.accept(2)
        story.run({"a.py": ".F"})
        page = store.tests(2)
        assert page is not None
        assert page.total == 2
        assert store.tests(1) is None
    finally:
        store.close()


@pytest.mark.parametrize("now", [0.0, 100.0])
def test_nothing_to_drop(store: Store, now: float) -> None:
    assert store.retain(now) == frozenset()
