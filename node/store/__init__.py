"""Evaluations, verdicts and the log they follow from, in one SQLite file."""

from node.store.errors import OutOfStep, StoreError
from node.store.store import Replay, Store, StoreSettings, Written

__all__ = ["OutOfStep", "Replay", "Store", "StoreError", "StoreSettings", "Written"]
