"""Evaluations, verdicts and the log they follow from, in one SQLite file."""

from node.store.errors import OutOfStep, StoreError
from node.store.store import Store, StoreSettings

__all__ = ["OutOfStep", "Store", "StoreError", "StoreSettings"]
