"""Who is alive, who is proven dead, and when evidence of death may stand for a vote.

The lease is the heart of the rule for two voters. The backup's evidence counts only while the
master has echoed, less than L ago, a stamp that the backup sent; the master goes on alone on mere
silence only after 2L. A master that has gone on alone has therefore heard nothing from its backup
for 2L, so the backup's newest echoed stamp is at least 2L old and its evidence counts no more:
what the master acknowledged alone cannot be lost to a takeover that does not know of it.
"""

from __future__ import annotations

from msgspec import Struct

from node.core.timing import Timing
from proto.voting import Epoch

EVALUATION_BLOCK = 1_000_000


def first_evaluation_after(highest: int) -> int:
    """The first evaluation id of a master that took over alone: the next multiple of 1,000,000."""
    return (highest // EVALUATION_BLOCK + 1) * EVALUATION_BLOCK


def blocks(highest: int, *, again: bool) -> tuple[int, int]:
    """The first id of a reign that began alone, and the last one that its log is to keep from later ones.

    Two masters that part from the same log take different blocks: the backup with evidence the next
    one, the master that went on (``again``) after silence the one after it. Both are taken for good, or
    who parts from this log later would count among the same ids.
    """
    first = first_evaluation_after(highest)
    return first + again * EVALUATION_BLOCK, first + 2 * EVALUATION_BLOCK - 1


class Lease(Struct, frozen=True, kw_only=True):
    """The newest of this node's stamps that the master returned, and what it had committed by then."""

    master: str
    incarnation: int
    epoch: Epoch
    stamp: float
    commit: int


class Witness:
    """Incarnations, times of last contact, deaths and the lease, as one replica sees them."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._started = now
        self._since = now
        self._incarnations: dict[str, int] = {}
        self._dead: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self.version = 0
        """Changes whenever ``is_dead`` may answer otherwise than before."""
        self.lease: Lease | None = None

    def hear(self, node: str, incarnation: int, now: float) -> bool:
        """Note that a message came. False: from an incarnation that is past or proven dead; drop it."""
        known = self._incarnations.get(node, -1)
        if incarnation < known or incarnation <= self._dead.get(node, -1):
            return False
        if incarnation != known:
            self._incarnations[node] = incarnation
            self.version += 1
        self._heard[node] = now
        return True

    def came_up(self, node: str, incarnation: int, now: float) -> None:
        """An authenticated connection outweighs evidence against the same incarnation."""
        if incarnation >= self._incarnations.get(node, -1):
            if self._dead.get(node, -1) >= incarnation:
                self._dead[node] = incarnation - 1
                self.version += 1
            self.hear(node, incarnation, now)

    def died(self, node: str, incarnation: int) -> bool:
        """Note evidence. False if a later incarnation is known to live, or it is old news."""
        if incarnation < self._incarnations.get(node, -1) or incarnation <= self._dead.get(node, -1):
            return False
        self._incarnations[node] = self._dead[node] = incarnation
        self.version += 1
        return True

    def is_dead(self, node: str) -> bool:
        """Whether the newest incarnation that is known of the node is proven dead."""
        return node in self._dead and self._dead[node] >= self._incarnations[node]

    def silence(self, node: str, now: float) -> float:
        """Seconds since the node was last heard, or since this one woke up."""
        return now - max(self._heard.get(node, self._since), self._since)

    def overslept(self, now: float) -> None:
        """This process did not run for a while: what it did not hear in that time accuses nobody.

        The lease is not touched: it is about the master's clock, not about this node's suspicion.
        """
        self._since = now

    def take_lease(self, master: str, epoch: Epoch, stamp: float, commit: int) -> None:
        """The master returned one of this node's stamps (0: it gives no lease).

        A stamp that this process did not make itself is refused: while its forerunner was dead, the
        master may have committed alone.
        """
        if stamp < self._started:
            return
        incarnation = self._incarnations[master]
        lease = self.lease
        if lease is not None and (lease.master, lease.incarnation, lease.epoch) == (
            master,
            incarnation,
            epoch,
        ):
            stamp, commit = max(stamp, lease.stamp), max(commit, lease.commit)
        self.lease = Lease(master=master, incarnation=incarnation, epoch=epoch, stamp=stamp, commit=commit)

    def backup_stands_in(self, other: str, epoch: Epoch, durable: int, now: float) -> bool:
        """May a backup's evidence of ``other``'s death stand for the vote of ``other``?"""
        lease = self.lease
        return (
            lease is not None
            and self.is_dead(other)
            and (lease.master, lease.epoch) == (other, epoch)
            and lease.incarnation == self._dead[other]
            and now - lease.stamp < self._timing.lease
            and durable >= lease.commit
        )

    def master_stands_in(self, other: str) -> bool:
        """May the master's evidence stand for the agreement of its only fellow voter? Always."""
        return self.is_dead(other)

    def master_goes_alone(self, other: str, now: float) -> bool:
        """Has silence lasted so long that no lease can be left on the other side?"""
        return self.silence(other, now) >= 2 * self._timing.lease
