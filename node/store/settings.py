"""What a store may be told."""

from __future__ import annotations

from msgspec import Struct

from node.store import journal


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Days, bytes, seconds and counts."""

    retention_days: float = 90.0
    """Finished evaluations are kept so long. Small values lose reports people still want."""
    retention_size: int = 20 << 30
    """Bytes of the database above which the oldest finished evaluations go."""
    busy_seconds: float = 10.0
    """How long a statement waits for another connection before it is an error."""
    readers: int = 10
    """Idle connections kept for queries; each holds up to 2 MB of cache."""
    log_tail: int = journal.TAIL
    """Newest log positions kept although nothing unfinished needs them."""
