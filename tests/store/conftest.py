"""A store on disk, and a story to tell it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.store import Store
from tests.store.story import Story


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "testring.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def story(store: Store) -> Story:
    return Story(store)
