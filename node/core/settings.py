"""The core's own settings: limits and budgets, with units and what is dangerous about them."""

from __future__ import annotations

from msgspec import Struct


class CoreSettings(Struct, frozen=True, kw_only=True):
    """Seconds and counts."""

    timeout_evaluation: float = 7200.0
    """An evaluation that runs longer ends with what it has; the rest is ``notrun``."""
    max_queue: int = 1000
    """Unfinished evaluations; further submissions are answered 429."""
    max_clones: int = 4
    """Repositories fetched at once."""
    confirm_floor: float = 60.0
    """Confirming and auditing may always take so long, however short the run was."""
    confirm_share: float = 1.0
    """... and up to this share of the run's own time. Small values leave failures unconfirmed."""
    losses_alone: int = 3
    """A test whose node was lost under it so often runs alone from then on."""
    losses_most: int = 6
    """... and so often: it ends ``lost``."""
    drain_seconds: float = 30.0
    """A draining worker lets running tests end for so long."""
    await_seconds: float = 5.0
    """A new master deals what was planned before only after every member of the former reign has
    reported, or after so long. Short values run tests a second time that a slow member still runs."""
    replicas: int = 1
    """Losses that the log should survive: 2 x ``replicas`` + 1 nodes hold it, as there are nodes."""
    steal_least: float = 0.5
    """A running module is asked for its tail only if its tests will take so long. Small values split
    modules for less than it costs to import them twice."""
    steal_open: float = 3.0
    """... and a free slot starts a session for nothing but that only if they will take so long."""
    isolation: str = "process"


SELECT_MOST = 5000
"""Tests named in one ``Run``."""
