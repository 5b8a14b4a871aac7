"""How long to wait before calling silence silence: one settings object, three profiles."""

from __future__ import annotations

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds, all of them, on CLOCK_BOOTTIME: a machine that slept knows that it did.

    Raises:
        ValueError: two settings contradict each other; the message names both.
    """

    ping: float = 0.5
    """Between two pings of a ring neighbour, and between two empty appends of the master."""
    suspect: float = 2.0
    """Silence that makes a peer a suspect. Too short and a busy machine is buried."""
    lease: float = 4.0
    """How old the master's last echo may be when a backup takes over on evidence. The master of
    two waits twice as long before it goes on alone, so the factor covers any drift of two clocks."""
    stagger: float = 0.3
    """Between the candidacies of two voters. Too short and votes split."""
    confirm: float = 0.5
    """How long the others are given to say that they still hear a suspect."""
    redial: float = 0.25
    """Between two attempts to reach a peer whose connection closed."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if getattr(self, field) <= 0:
                raise ValueError(f"timing: {field} must be more than 0 seconds")
        if self.suspect < 3 * self.ping:
            raise ValueError(
                f"timing: suspect ({self.suspect} s) must be at least 3 x ping ({self.ping} s), "
                "or one lost ping buries a node"
            )
        if self.lease < self.suspect:
            raise ValueError(
                f"timing: lease ({self.lease} s) must not be under suspect ({self.suspect} s), "
                "or a backup could never take over from two"
            )
        if self.stagger >= self.suspect:
            raise ValueError(f"timing: stagger ({self.stagger} s) must be under suspect ({self.suspect} s)")
        if self.confirm > self.suspect:
            raise ValueError(f"timing: confirm ({self.confirm} s) must not exceed suspect ({self.suspect} s)")
        if self.redial > self.suspect:
            raise ValueError(f"timing: redial ({self.redial} s) must not exceed suspect ({self.suspect} s)")


LOCAL = Timing(ping=0.15, suspect=0.6, lease=1.2, stagger=0.1, confirm=0.2, redial=0.05)
LAN = Timing()
WAN = Timing(ping=1.5, suspect=8.0, lease=16.0, stagger=1.0, confirm=2.0, redial=1.0)

PROFILES = {"local": LOCAL, "lan": LAN, "wan": WAN}
