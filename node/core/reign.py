"""This node's part in the log: its replica, and its reign while the replica is master.

A reign begins in two steps: the replica has won and its first record is committed, then the tables
hold everything that was committed before. It ends at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core import ring_events as re
from node.core import voting_events as ve
from node.core.allegiance import Allegiance
from node.core.master import Master
from node.core.neighbourhood import Found, Neighbourhood
from node.core.replication import Replica
from node.core.settings import CoreSettings
from node.core.voting_log import VoterSet
from proto import messages as m

Emit = Callable[[Iterable[fx.AnyEffect]], None]


class Reign:
    """The replica and, if it is master, the ``Master``.

    Args:
        agreed: the committed voters as far as the disk has them at the start.
        emit: takes what is to be done; ``allegiance``: is told when a reign is over, or was never one.
    """

    def __init__(
        self,
        settings: CoreSettings,
        node: str,
        replica: Replica,
        around: Neighbourhood,
        agreed: tuple[str, ...],
        emit: Emit,
        allegiance: Allegiance,
    ) -> None:
        self._settings = settings
        self._node = node
        self.replica = replica
        self._around = around
        self._agreed = agreed
        self._emit = emit
        self._allegiance = allegiance
        self.master: Master | None = None
        self.announced: ve.BecomeMaster | None = None
        """The reign that has begun for the replica, whether or not the tables are read."""
        self._offered: tuple[str, ...] = ()
        self._counted: tuple[tuple[VoterSet, ...], tuple[str, ...]] = ((), ())
        """Sets whose majorities must agree, and everybody in them."""
        self._weighed: tuple[object, ...] = ()
        """What the holders were last told of the replica."""
        self._standing: tuple[str, ...] = ()
        self._tickets = 0
        self._placed: int | None = None
        self._now = 0.0

    @property
    def others(self) -> tuple[str, ...]:
        """The other nodes that hold the log. (Who is next in line is equipped before it is one.)"""
        return tuple(node for node in self.replica.voters if node != self._node)

    @property
    def required(self) -> tuple[str, ...]:
        """Everybody in a set whose majority must agree now."""
        required = self.replica.required
        if required != self._counted[0]:
            self._counted = (required, tuple(dict.fromkeys(node for voters in required for node in voters)))
        return self._counted[1]

    # --- the replica ------------------------------------------------------------------------------

    def vote(self, event: ve.ReplicaEvent, now: float) -> None:
        """Give the replica an event and do what follows from it."""
        self._now = now
        for effect in self.replica.handle(event, now):
            match effect:
                case ve.Send():
                    self._emit([fx.Send(node=effect.node, message=effect.message)])
                case ve.BecomeMaster():
                    self.announced = effect
                    self._say(f"master of epoch {effect.epoch}{', alone' if effect.alone else ''}")
                    self._emit([fx.Load(epoch=effect.epoch)])
                case ve.StepDown():
                    self._end(effect)
                case ve.Isolation():
                    self._isolate(effect.isolated)
                case ve.Placed():
                    self._placed = effect.last
                case ve.Refused():
                    self._placed = None
                case ve.VotersChanged():
                    # A restarted voter commits its whole history again: only its end is news.
                    if effect.voters != self._agreed and effect.voters == self.replica.voters:
                        self._say(f"the log is held by {' '.join(effect.voters)}")
                    self._agreed = effect.voters
                case _:
                    self._emit([effect])
                    if isinstance(effect, ve.TruncateTail) and effect.committed:
                        self._allegiance.parted()

    def tick(self, now: float) -> None:
        """The timers of both."""
        deadline = self.replica.next_deadline()
        if deadline is not None and now >= deadline:
            self.vote(ve.Tick(), now)
        if self.master is not None:
            self._sweep(self.master)
            self._emit(self.master.tick(now))

    def next_deadline(self) -> float | None:
        """When the next one is due."""
        deadlines = (
            self.replica.next_deadline(),
            self.master.next_deadline() if self.master is not None else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _log(self, records: tuple[rec.AnyRecord, ...]) -> int | None:
        """The master's way into the log."""
        self._tickets += 1
        payloads = tuple(rec.encode(record) for record in records)
        self.vote(ve.Append(ticket=self._tickets, payloads=payloads), self._now)
        return self._placed

    def take(self, event: ev.AnyEvent, now: float) -> None:
        """What only a master takes; others say so to those who wait for an answer."""
        self._now = now
        master = self.master
        if master is None:
            if isinstance(event, ev.Submitted | ev.Asked):
                self._emit([fx.Answer(ticket=event.ticket, status=503, body=None)])
            return
        match event:
            case ev.Submitted():
                self._emit(master.submit(event))
            case ev.Cloned() | ev.CloneFailed():
                master.cloned(event)
            case ev.Equipped():
                master.holders.equipped(event)
                master.merging.equipped(event)
            case ev.Compared():
                self._emit(master.merging.compared(event))
            case ev.Recalled():
                master.recalled(event)
            case ev.Committed():
                self._emit(master.committed(event.position))
            case ev.Asked():
                self._emit(master.ask(event, now, self._around.connected))

    # --- the reign --------------------------------------------------------------------------------

    def begin(self, event: ev.Replayed, now: float) -> bool:
        """The tables hold everything that was committed before; whether a reign begins with that."""
        announced = self.announced
        if announced is None or announced.epoch != event.epoch or self.master is not None:
            return False
        self._now = now
        self.master = master = Master(self._settings, self._node, announced, event, self._log, now=now)
        master.isolated = self.replica.isolated  # and no other measure: only its changes are told
        self._council(master)
        self._sweep(master)
        for node in sorted(self._around.connected):
            self._emit(master.admission.greet(node))
        return True

    def advance(self, now: float, at: float) -> None:
        """What follows from the state as it is now; ``at`` is Unix time."""
        self._now = now
        if self.master is not None:
            self._council(self.master)
        if self.master is not None:
            self._emit(self.master.advance(now, at, self._around.connected))

    def _end(self, effect: ve.StepDown) -> None:
        master, self.master, self.announced = self.master, None, None
        self._offered = self._standing = self._weighed = ()
        self._allegiance.deposed()
        self._say(f"steps down from epoch {effect.epoch}: {effect.reason}")
        if master is not None:
            self._emit(master.abandoned())

    def _isolate(self, isolated: bool) -> None:
        self._say("no majority of the voters answers" if isolated else "a majority of the voters answers")
        if self.master is not None:
            self.master.isolated = isolated

    def _council(self, master: Master) -> None:
        """Keep the replica and the holders' list told of each other."""
        holders, replica = master.holders, self.replica
        weighed = (replica.settled, replica.voters, self._agreed, self.required)
        if weighed != self._weighed:
            self._weighed = weighed
            holders.settled = replica.settled
            # Whoever leaves is needed until those who stay could start again without it.
            before = () if holders.settled else self._standing
            required = self._standing = tuple(dict.fromkeys((*self.required, *before)))
            known = (holders.voters, holders.committed, holders.required)
            if known != (replica.voters, self._agreed, required):
                holders.voters, holders.committed = replica.voters, self._agreed
                holders.required = required
                holders.changed()
                self._emit(master.admission.announce())
        offered = holders.eligible()
        if offered != self._offered:
            self._offered = offered
            self.vote(ve.Roster(nodes=offered, replicas=self._settings.replicas), self._now)

    # --- who is gone ------------------------------------------------------------------------------

    def found(self, found: Found, now: float) -> None:
        """What the ring says of a node."""
        match found:
            case re.Died():
                self.vote(ve.PeerDied(node=found.node, incarnation=found.incarnation), now)
                self.died(found.node, found.incarnation)
            case re.Left():
                self.left(found.node)
            case re.Silent():
                self.silent(found.node, found.incarnation, now)

    def died(self, node: str, incarnation: int) -> None:
        """Evidence of a death; of a later process of the node nothing is known by it."""
        master = self._judge(node, incarnation)
        if master is not None:
            self._emit(master.admission.bury(node, "dead"))

    def silent(self, node: str, incarnation: int, now: float) -> None:
        """Others have not heard a node; work is dealt elsewhere if this one has not either."""
        master = self._judge(node, incarnation)
        if master is not None and not self._around.hears(node, now):
            self._emit(master.admission.bury(node, "silent"))

    def told(self, node: str, message: m.Members, now: float) -> None:
        """A node says that it is master. Of two masters neither takes the other's word: their epochs say
        which of them yields."""
        if self.announced is None or node == self._node:
            self._allegiance.told(node, message)
        else:
            self.vote(ve.Rival(node=node), now)

    def left(self, node: str) -> None:
        """A node has left in order."""
        if self.master is not None:
            self._emit(self.master.admission.bury(node, "left"))

    def _sweep(self, master: Master) -> None:
        """Bury whom there is evidence against: it may have come before the reign, or while isolated."""
        if master.isolated:
            return
        for node in master.roster.nodes():
            if self._around.is_dead(node) or self.replica.believes_dead(node):
                self._emit(master.admission.bury(node, "dead"))

    def _judge(self, node: str, incarnation: int) -> Master | None:
        """The master's side, if it may decide about this process of the node."""
        master = self.master
        if master is None or master.isolated or master.roster.incarnation(node) > incarnation:
            return None
        return master

    def _say(self, text: str) -> None:
        self._emit([fx.Say(text=text)])
