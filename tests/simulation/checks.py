"""What must never happen, and what must have happened in the end."""

from __future__ import annotations

from node.core.voting_events import BecomeMaster, Commit, TruncateTail
from proto.voting import LogRecord
from tests.simulation.disk import Disk


class Violation(AssertionError):
    """A promise was broken."""


class Ledger:
    """Everything any node called committed, and everything any client was told."""

    def __init__(self, *, two_masters: bool = False) -> None:
        self.committed: dict[int, LogRecord] = {}
        self.acknowledged: dict[bytes, int] = {}
        self.reigns: dict[int, str] = {}
        self.two_masters = two_masters
        """Forged closes are part of the run: two voters may part, and are merged later."""

    def on_commit(self, node: str, effect: Commit) -> None:
        if self.two_masters:
            return
        for record in effect.records:
            known = self.committed.setdefault(record.position, record)
            if known != record:
                raise Violation(f"{node} commits {record}, but {known} was committed there")

    def on_master(self, node: str, effect: BecomeMaster) -> None:
        known = self.reigns.setdefault(effect.epoch.counter, node)
        if known != node and not self.two_masters:
            raise Violation(f"{node} and {known} are both masters with counter {effect.epoch.counter}")

    def on_truncate(self, node: str, effect: TruncateTail) -> None:
        if effect.committed and not self.two_masters:
            raise Violation(f"{node} drops committed records from #{effect.truncate_from} on")

    def acknowledge(self, payload: bytes, position: int) -> None:
        self.acknowledged[payload] = position

    def check_disk(self, node: str, disk: Disk, commit: int) -> None:
        """The committed part of a node's log is the committed log."""
        if self.two_masters:
            return
        for record in disk.history()[:commit]:
            known = self.committed.get(record.position)
            if known is not None and known != record:
                raise Violation(f"{node} has {record} on disk where {known} was committed")

    def check_kept(self, disk: Disk) -> None:
        """Every acknowledged record is in the surviving log, once."""
        payloads: dict[bytes, int] = {}
        for record in disk.history():
            if record.payload:
                if record.payload in payloads:
                    raise Violation(f"{record.payload!r} is in the log twice")
                payloads[record.payload] = record.position
        for payload, position in self.acknowledged.items():
            if payloads.get(payload) != position and not self.two_masters:
                raise Violation(f"acknowledged {payload!r} at #{position} is lost")
