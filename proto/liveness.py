"""When to ping, and when a peer has been silent for too long. Knows no clock.

A deadline that is served late by more than a ping interval means that *this* side was stalled: what
the peer said meanwhile may lie unread. So the peer is asked once more and gets one ping interval to
be heard; only once per silence, so that a caller with a coarse timer still learns of a silent peer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Timing:
    """Seconds. Limits far below a second report busy peers as silent; ``math.inf`` means never."""

    ping_interval: float = 0.5
    """A ping goes out when nothing was heard for so long, and again after each further one."""
    silence_after: float = 2.0
    """Nothing heard for so long: the peer is suspected."""
    close_after: float = 20.0
    """Nothing heard for so long: the connection is given up."""
    handshake_timeout: float = 5.0
    """A peer has so long to authenticate."""

    def __post_init__(self) -> None:
        if not 0 < self.ping_interval <= self.silence_after <= self.close_after:
            raise ValueError(
                f"ping_interval, silence_after and close_after are {self.ping_interval:g}, "
                f"{self.silence_after:g} and {self.close_after:g} s; they must be above 0 and ascending"
            )
        if not self.handshake_timeout > 0:
            raise ValueError(f"handshake_timeout is {self.handshake_timeout:g} s; it must be above 0")


class Due(Enum):
    """What a deadline asks for."""

    PING = "ping"
    SILENT = "silent"
    CLOSE = "close"


class Liveness:
    """One peer's life signs."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._heard = now
        self._pinged = now
        self._grace = now
        self._excused = False
        self.silent = False

    def heard(self, now: float) -> bool:
        """Bytes arrived; whether that ends a silence."""
        self._heard = now
        self._excused = False
        was_silent, self.silent = self.silent, False
        return was_silent

    def next_deadline(self) -> float | None:
        """When ``due`` has something to say, on the caller's clock; None means never."""
        verdict = self._limit(self._timing.close_after if self.silent else self._timing.silence_after)
        deadline = min(self._next_ping(), verdict)
        return None if math.isinf(deadline) else deadline

    def due(self, now: float) -> list[Due]:
        """What is to be done at ``now``; nothing before the deadline."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if now - deadline > self._timing.ping_interval and not self._excused:
            self._excused = True
            self._grace = now + self._timing.ping_interval
        if now >= self._limit(self._timing.close_after):
            return [Due.CLOSE]
        done: list[Due] = []
        if not self.silent and now >= self._limit(self._timing.silence_after):
            self.silent = True
            done.append(Due.SILENT)
        if now >= self._next_ping():
            self._pinged = now
            done.append(Due.PING)
        return done

    def _next_ping(self) -> float:
        return max(self._heard, self._pinged) + self._timing.ping_interval

    def _limit(self, seconds: float) -> float:
        return max(self._heard + seconds, self._grace)
