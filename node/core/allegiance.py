"""Whom this node follows: the roster it was told, the master it has joined, and leaving in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from node.core import effects as fx
from node.core import events as ev
from node.core.master import Master
from node.core.neighbourhood import Neighbourhood
from node.core.returning import Returning
from node.core.settings import CoreSettings
from node.core.worker import Worker
from proto import messages as m
from proto.voting import NO_EPOCH, Epoch, WantHistory

Emit = Callable[[Iterable[fx.AnyEffect]], None]


class Allegiance:
    """The worker's side among the others.

    Args:
        slots: sessions this node runs at once; ``alone``: while it is master without other members.
        members: the roster as this node's disk has it.
        emit: takes what is to be done.
    """

    def __init__(
        self,
        settings: CoreSettings,
        node: str,
        address: str,
        slots: int,
        alone: int,
        members: m.Members,
        around: Neighbourhood,
        emit: Emit,
    ) -> None:
        self._settings = settings
        self._node = node
        self._address = address
        self._slots, self._alone = slots, alone
        self._around = around
        self._emit = emit
        self.worker = Worker(settings, node)
        self._returning = Returning()
        self.members = members
        """As the followed master last told it."""
        self.followed = NO_EPOCH
        self._joined = ""
        self._hinted = ""
        self._told: tuple[str, ...] = ()
        self.leaving = False
        self._closing = False

    # --- a master ---------------------------------------------------------------------------------

    def told(self, node: str, message: m.Members) -> None:
        """A master's roster: follow the highest epoch; a stale master's word counts no more."""
        epoch = Epoch(message.epoch, node)
        if epoch < self.followed:
            return
        # A new reign of the same node knows nothing of a report that it got before.
        again = epoch > self.followed and node != self._node
        self.followed, self.members = epoch, message
        named = any(member.node == self._node for member in message.members)
        if again or self._joined != node or (self.worker.welcome and not named):
            self.join(node)
        if self._hinted != node:
            self._hinted = node
            if node == self._node:
                return
            for other in sorted(self._around.connected - {node}):
                self.hint(other, node)

    def join(self, master: str) -> None:
        """Report to a master, or to this node itself."""
        self._joined = master
        join = m.Join(
            address=self._address,
            slots=self._slots,
            alone=self._alone,
            isolation=self._settings.isolation,
            draining=self.leaving,
        )
        self._emit(self.worker.follow(master, join))

    def hint(self, node: str, master: str) -> None:
        """Tell a node where the master is, if it is another one."""
        where = self._around.address(master) if master != node else ""
        self._emit([fx.Send(node=node, message=m.NotMaster(epoch=self.followed.counter, hint=where))])

    def denied(self, node: str) -> None:
        """A node says that it is not the master: if it was, it is no more, and another one is looked for."""
        if node == self.worker.master:
            self.deposed()

    def connected(self, node: str) -> None:
        """A connection is new: whoever is master there must say so anew."""
        if node == self._joined:
            self._joined = ""

    def disconnected(self, node: str) -> None:
        """A connection is gone."""
        self.connected(node)
        if node == self.worker.master:
            self.worker.lost()

    def deposed(self) -> None:
        """This node is master no more."""
        self._joined = ""
        self.worker.lost()

    def tell_neighbours(self) -> None:
        """Tell the master whom this node is connected to, when that has changed."""
        addresses = self._around.addresses()
        if addresses != self._told and self.worker.welcome:
            self._told = addresses
            neighbours = m.Neighbours(addresses=addresses)
            self._emit([fx.Send(node=self.worker.master, message=neighbours)])

    # --- the master's word, and a history of one's own --------------------------------------------

    def receive(self, message: m.AnyMessage) -> None:
        """A message of the followed master."""
        if isinstance(message, WantHistory):
            self._emit(self._returning.wanted(message, self._welcomed_by))
            return
        self._emit(self.worker.receive(message))
        if isinstance(message, m.Welcome):
            self._emit(self._returning.offer(self._welcomed_by))

    def parted(self) -> None:
        """What this node had committed is not the cluster's: what it ran for that is over."""
        self._emit(self.worker.abandon())

    def aside(self, event: ev.Parted | ev.HistoryRead) -> None:
        """What the shell says of the histories that are kept aside."""
        self._emit(self._returning.take(event, self._welcomed_by))

    @property
    def _welcomed_by(self) -> str:
        return self.worker.master if self.worker.welcome else ""

    # --- leaving ----------------------------------------------------------------------------------

    def leave(self, now: float) -> None:
        """Take no more work, and end what runs."""
        self._emit(self.worker.drain(now))

    def tick(self, now: float) -> None:
        """The drain's deadline."""
        worker = self.worker
        if worker.drain_deadline is not None and now >= worker.drain_deadline:
            worker.drain_deadline = now + 1.0
            self._emit(worker.overdue())

    def let_go(self, *, holds_log: bool) -> bool:
        """Whether this node may go: nothing runs here or waits for an answer, and the master knows that it
        leaves, will not make it a voter, and could start again without it. A node without a log needs no
        master for that."""
        if not self.worker.drained():
            return False
        if not self.worker.master:
            return not holds_log
        own = [member for member in self.members.members if member.node == self._node]
        return all(member.draining for member in own) and self._node not in self.members.voters

    def closes(self, required: tuple[str, ...], reign: Master | None) -> bool:
        """Whether the cluster stops as a whole and this node may go with it: every member has been asked to
        leave, all of ``required`` (who must agree now) among them. ``reign``: this node is the master.

        Nobody stays who would need a set of voters without those who go: they keep their seats, as if all
        had been switched off. Who holds no log goes first, then, when no session is left anywhere, the
        master; the other voters stay with it, so that the last verdicts are still recorded.
        """
        leaving = {member.node for member in self.members.members if member.draining}
        if self.leaving and leaving.issuperset(required) and len(leaving) == len(self.members.members) > 1:
            self._closing = True
        if not self._closing:
            return False
        if reign is not None:
            others = {member.node for member in self.members.members} - {self._node}
            return reign.idle() and self.worker.drained() and others.issubset(required)
        if self.worker.master:
            # The roster names also whom the master is about to make a voter.
            return self.worker.drained() and self._node not in (*required, *self.members.voters)
        return self.worker.silent()  # nobody is left who would answer

    def part(self) -> None:
        """Say goodbye to the master, and stop."""
        master = self.worker.master
        if master and master != self._node:
            self._emit([fx.Disconnect(node=master, reason="drained")])
        self._emit([fx.Stop()])
