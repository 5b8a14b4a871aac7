"""Evaluations, verdicts and the log they follow from, in one SQLite file."""

from node.store.aside import Aside
from node.store.errors import OutOfStep, StoreError
from node.store.journal import Replay
from node.store.settings import StoreSettings
from node.store.store import Store, Written

__all__ = ["Aside", "OutOfStep", "Replay", "Store", "StoreError", "StoreSettings", "Written"]
