"""Who is a member: greeted, joined with a report, away for a while, buried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from node.core import effects as fx
from node.core import records as rec
from node.core.desk import Desk
from node.core.holders import Holders
from node.core.losses import Losses
from node.core.membership import Roster
from node.core.reports import Reports
from proto import messages as m
from proto.messages import AnyMessage
from proto.voting import Epoch

Why = Literal["left", "dead", "silent"]
ABOUT_MEMBERS = m.Join | m.Held | m.HeldRun | m.Reported | m.Neighbours | m.Leaving


class Admission:
    """The master's dealings with the members as such.

    Args:
        epoch: of the reign.
        record: makes a record part of the state and of the log.
    """

    def __init__(
        self,
        epoch: Epoch,
        roster: Roster,
        holders: Holders,
        reports: Reports,
        losses: Losses,
        desk: Desk,
        record: Callable[[rec.AnyRecord], None],
    ) -> None:
        self._epoch = epoch
        self._roster = roster
        self._holders = holders
        self._reports = reports
        self._losses = losses
        self._desk = desk
        self._record = record
        self._members = roster.message(epoch.counter, holders.required)

    # --- telling ------------------------------------------------------------------------------

    def members(self) -> m.Members:
        """The roster, and everybody whose vote may count, as it is told to every member: the very same
        message until one of them changes."""
        roster, required, told = self._roster, self._holders.required, self._members
        if told.members is not roster.members or told.voters is not required:
            self._members = roster.message(self._epoch.counter, required)
        return self._members

    def announce(self) -> list[fx.AnyEffect]:
        """Tell every member who is one, and who holds the log."""
        message = self.members()
        return [fx.Send(node=node, message=message) for node in self._roster.nodes()]

    def greet(self, node: str) -> list[fx.AnyEffect]:
        """A node is connected: it hears who is master, and answers with ``Join``."""
        return [fx.Send(node=node, message=self.members())]

    # --- coming and going ---------------------------------------------------------------------

    def away(self, node: str) -> None:
        """The connection to a node is new, or gone: nothing is sent to it before it has reported."""
        self._reports.forget(node)
        self._roster.away(node)
        self._holders.changed()
        self._desk.wake()

    def drain(self, node: str) -> None:
        """A member takes no more work."""
        self._roster.drain(node)
        self._holders.changed()
        self._desk.wake()

    def bury(self, node: str, why: Why) -> list[fx.AnyEffect]:
        """A member is gone for certain, or silent for so long that its work goes to others."""
        if node == self._epoch.node or not self._roster.leave(node):
            return []
        self._reports.forget(node)
        self._holders.forget(node)
        self._record(rec.Departed(node=node, why=why))
        self._desk.wake()
        for work in self._desk.works.values():
            for session in [session for session in work.sessions.values() if session.node == node]:
                self._losses.node_lost(work, session, charged=why != "left")
        return [fx.Say(text=f"{node} is a member no more: {why}"), *self.announce()]

    def receive(self, node: str, message: AnyMessage, incarnation: int, now: float) -> list[fx.AnyEffect]:
        """One of ``ABOUT_MEMBERS``."""
        if isinstance(message, m.Join):
            self._reports.begin(node, message)
        elif isinstance(message, m.Held | m.HeldRun):
            self._reports.take(node, message)
        elif isinstance(message, m.Reported):
            return self._joined(node, incarnation, now)
        elif isinstance(message, m.Neighbours):
            self._roster.neighbours(node, message.addresses)
        elif isinstance(message, m.Leaving) and node in self._roster:
            self.drain(node)
            if not self._roster.able():
                return self.announce()  # the cluster stops as a whole: each may go
            # The answer that the node waits for: it will not be made a voter any more.
            return self.greet(node)
        return []

    def _joined(self, node: str, incarnation: int, now: float) -> list[fx.AnyEffect]:
        report = self._reports.complete(node)
        if report is None:
            return []
        join = report.join
        joined = rec.Joined(
            node=node,
            address=join.address,
            incarnation=incarnation,
            slots=join.slots,
            alone=join.alone,
            isolation=join.isolation,
        )
        same_process = self._roster.incarnation(node) == incarnation
        void, again = self._reports.settle(node, report, same_process=same_process, now=now)
        self._desk.wake()
        self._holders.changed()
        new = not self._roster.knows(joined)
        if new:
            self._record(joined)
            self._roster.join(joined)
        self._roster.reported(node)
        if join.draining:
            self._roster.drain(node)
        welcome = m.Welcome(cluster="", epoch=self._epoch.counter, void=tuple(void))
        return [fx.Send(node=node, message=welcome), *again, *(self.announce() if new else [])]
