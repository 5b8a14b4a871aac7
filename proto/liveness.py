"""When to ping, and when a peer has been silent for too long. Knows no clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Timing:
    """Seconds. Limits far below a second report busy peers as silent."""

    ping_interval: float = 0.5
    """A ping goes out when nothing was heard for so long."""
    silence_after: float = 2.0
    """Nothing heard for so long: the peer is suspected."""
    close_after: float = 20.0
    """Nothing heard for so long: the connection is given up."""
    handshake: float = 5.0
    """A peer has so long to authenticate."""


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
        self.silent = False

    def heard(self, now: float) -> bool:
        """Bytes arrived; whether that ends a silence."""
        self._heard = now
        was_silent, self.silent = self.silent, False
        return was_silent

    def next_deadline(self) -> float:
        """When ``due`` has something to say, on the caller's clock."""
        ping = max(self._heard, self._pinged) + self._timing.ping_interval
        if self.silent:
            return min(ping, self._heard + self._timing.close_after)
        return min(ping, self._heard + self._timing.silence_after)

    def due(self, now: float) -> list[Due]:
        """What is to be done at ``now``."""
        done: list[Due] = []
        quiet = now - self._heard
        if quiet >= self._timing.close_after:
            return [Due.CLOSE]
        if quiet >= self._timing.silence_after and not self.silent:
            self.silent = True
            done.append(Due.SILENT)
        if now >= max(self._heard, self._pinged) + self._timing.ping_interval:
            self._pinged = now
            done.append(Due.PING)
        return done
