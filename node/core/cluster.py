"""``ClusterState``: the one entrance. Events go in, effects come out, time is an argument.

It joins machines that each know only their own matter: the reign (the log, and the master's side while
this node is master), the neighbourhood (ring and connections), and the allegiance (the worker's side).
What a node says to itself is looped back here instead of being sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core import voting_events as ve
from node.core.allegiance import Allegiance
from node.core.kinds import FROM_SESSIONS, JOINING, RING, TO_WORKER, VOTING
from node.core.membership import Roster
from node.core.neighbourhood import Neighbourhood
from node.core.reign import Reign
from node.core.replication import Replica
from node.core.settings import CoreSettings
from node.core.timing import Timing
from proto import messages as m
from proto import voting as v


class ClusterState:
    """Decides everything about the cluster and knows no socket, clock, file or greenlet.

    Args:
        incarnation: which process of this node this is, counted on its disk.
        slots: sessions this node runs at once; ``alone``: while it is master without other members.
        saved: the log and the vote as this node's disk has them; ``members``: the last roster there.
        now: CLOCK_BOOTTIME, seconds.
    """

    def __init__(
        self,
        settings: CoreSettings,
        *,
        node: str,
        address: str,
        incarnation: int,
        slots: int,
        alone: int,
        saved: ve.Saved,
        members: tuple[rec.Joined, ...] = (),
        timing: Timing,
        now: float,
    ) -> None:
        self._node = node
        self._incarnation = incarnation
        self._now = now
        self._offset = 0.0
        self._todo: deque[fx.AnyEffect] = deque()
        emit = self._todo.extend
        self._replica = Replica(node, saved, timing, now)
        self._around = Neighbourhood(node, timing, now, emit, lambda it: self._reign.found(it, self._now))
        roster = Roster(node, members).message(0, self._replica.voters)
        self._allegiance = Allegiance(settings, node, address, slots, alone, roster, self._around, emit)
        self._worker = self._allegiance.worker
        agreed, allegiance = saved.base_voters, self._allegiance
        self._reign = Reign(settings, node, self._replica, self._around, agreed, emit, allegiance)
        self._stopped = False

    # --- what the shell may ask -------------------------------------------------------------------

    @property
    def is_master(self) -> bool:
        """Whether this node decides."""
        return self._reign.master is not None

    @property
    def master(self) -> str:
        """Node id of the master as far as this node knows, or empty."""
        if self._reign.master is not None:
            return self._node
        told = self._replica.master  # if it is not connected it may have left: others are asked
        return self._worker.master or (told if told in self._around.connected else "")

    @property
    def epoch(self) -> int:
        """The highest epoch this node knows of."""
        return max(self._replica.epoch.counter, self._allegiance.followed.counter)

    @property
    def others(self) -> tuple[str, ...]:
        """The other nodes that hold the log."""
        return self._reign.others

    def serving(self, now: float) -> bool:
        """Whether this node may answer reads: master, with a majority of the voters in contact."""
        return self._reign.master is not None and self._replica.serving(now)

    def address_of(self, node: str) -> str:
        """Where a node was last known to be, or empty."""
        return self._around.address(node)

    def addresses(self) -> dict[str, str]:
        """Node id -> address of the live members."""
        master = self._reign.master
        return master.roster.addresses() if master is not None else {}

    def live(self, evaluation: int) -> dict[tuple[int, str], int]:
        """(project, module) -> tests that run right now."""
        master = self._reign.master
        return master.lifecycle.running(evaluation) if master is not None else {}

    def next_deadline(self) -> float | None:
        """When to come back with a ``Tick`` at the latest, on the clock of ``now``."""
        deadlines = (self._reign.next_deadline(), self._around.next_deadline(), self._worker.drain_deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- the entrance -----------------------------------------------------------------------------

    def handle(self, event: ev.AnyEvent, now: float) -> list[fx.AnyEffect]:
        """What is to be done about one event, in this order."""
        # Unix time follows the clock between the events that carry it.
        self._offset = getattr(event, "at", now + self._offset) - now
        self._now = now
        self._on(event)
        out: list[fx.AnyEffect] = []
        # What is committed lets out what was decided before: nothing new follows from it. Nor from what
        # goes out; only what this node tells itself is followed up again.
        told = not isinstance(event, ev.Committed)
        while told or self._todo:
            if told:
                self._follow_up()
                told = False
            while self._todo:
                effect = self._todo.popleft()
                if isinstance(effect, fx.Send) and effect.node == self._node:
                    self._said(self._node, effect.message)
                    told = True
                else:
                    out.append(effect)
        return out

    def _on(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.Received():
                self._received(event)
            case ev.SessionSaid():
                self._todo.extend(self._worker.said(event.session, event.messages))
            case ev.Tick():
                self._reign.tick(self._now)
                self._around.tick(self._now)
                self._allegiance.tick(self._now)
            case ve.Persisted() | ve.SnapshotFetched() | ve.Compacted():
                self._reign.vote(event, self._now)
            case ev.PeerUp():
                self._up(event)
            case ev.PeerDown():
                self._down(event)
            case ev.Dialled():
                self._around.dialled(event, self._now)
            case ev.Replayed():
                if self._reign.begin(event, self._now):
                    self._allegiance.join(self._node)
            case ev.Stopping():
                self._stop()
            case ev.Parted() | ev.HistoryRead():
                self._allegiance.aside(event)
            case _:
                self._reign.take(event, self._now)

    def _follow_up(self) -> None:
        """What follows from the state as it is now, whatever brought it about."""
        self._reign.advance(self._now, self._now + self._offset)
        if self._reign.master is not None:
            self._allegiance.members = self._reign.master.admission.members()
        members = self._allegiance.members
        self._around.seat(members.members, members.voters, self._now)
        self._around.connect(self._wanted(), self._now)
        self._allegiance.tell_neighbours()
        if self._allegiance.leaving and not self._stopped and self._may_go():
            self._stopped = True
            self._allegiance.part()

    # --- peers ------------------------------------------------------------------------------------

    def _up(self, event: ev.PeerUp) -> None:
        node = event.node
        self._allegiance.connected(node)
        self._around.up(event, self._now)
        self._reign.vote(ve.PeerUp(node=node, incarnation=event.incarnation), self._now)
        master = self._reign.master
        if master is not None:
            master.admission.away(node)
            self._todo.extend(master.admission.greet(node))
        elif self.master:
            self._allegiance.hint(node, self.master)

    def _down(self, event: ev.PeerDown) -> None:
        if not self._around.down(event, self._now):
            return
        self._allegiance.disconnected(event.node)
        if self._reign.master is not None:
            self._reign.master.admission.away(event.node)

    # --- what is said -----------------------------------------------------------------------------

    def _received(self, event: ev.Received) -> None:
        incarnation = self._around.incarnation(event.node)
        if incarnation is None:
            return
        message = event.message
        ordinary = type(message) in FROM_SESSIONS
        if not ordinary and isinstance(message, RING):
            self._around.said(event.node, incarnation, message, self._now)
        else:
            self._around.heard(event.node, incarnation, self._now)
        if not ordinary and isinstance(message, VOTING):
            vote = ve.Received(node=event.node, incarnation=incarnation, message=message)
            self._reign.vote(vote, self._now)
        self._said(event.node, message)
        master = self._reign.master
        if master is not None and event.node not in master.roster and not isinstance(message, JOINING):
            # It was buried, and lives: it joins again.
            self._todo.extend(master.admission.greet(event.node))

    def _said(self, node: str, message: m.AnyMessage) -> None:
        """A message of a peer, or of this node to itself."""
        master = self._reign.master
        incarnation = self._incarnation if node == self._node else self._around.incarnation(node) or 0
        if master is not None and type(message) in FROM_SESSIONS:
            self._todo.extend(master.receive(node, message, incarnation, self._now))
        elif isinstance(message, v.Evidence):
            self._reign.died(message.node, message.incarnation)
        elif isinstance(message, v.SilenceReport):
            self._reign.silent(message.node, message.incarnation, self._now)
        elif isinstance(message, VOTING | RING):
            return
        elif isinstance(message, m.Members):
            self._reign.told(node, message, self._now)
        elif isinstance(message, m.NotMaster):
            self._allegiance.denied(node)
        elif isinstance(message, m.Drain):
            self._stop()
        elif isinstance(message, TO_WORKER):
            if node == self._worker.master:
                self._allegiance.receive(message)
        elif master is not None:
            self._todo.extend(master.receive(node, message, incarnation, self._now))
        elif isinstance(message, m.Join) and self.master:
            self._allegiance.hint(node, self.master)

    # --- whom to know -----------------------------------------------------------------------------

    def _wanted(self) -> Iterable[str]:
        """Whom to be connected to; an empty id is nobody."""
        required, successor = self._reign.required, self._around.successor
        voters = required if self._node in required else ()
        if self._reign.master is not None:
            return (*voters, *self._reign.master.roster.awaited, successor)
        known = () if self.master else self._allegiance.members.voters
        return (*voters, *known, self._allegiance.followed.node, successor)

    # --- leaving ----------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._allegiance.leaving:
            return
        self._allegiance.leaving = True
        if not self._alone_with_the_log():
            self._allegiance.leave(self._now)
            self._reign.vote(ve.Leave(incarnation=self._incarnation), self._now)

    def _alone_with_the_log(self) -> bool:
        """The evaluations go on when a node is started on this disk again."""
        return self._replica.required == ((self._node,),)

    def _may_go(self) -> bool:
        """Nobody needs this node: not before the set of voters without it is committed."""
        if self._alone_with_the_log() or self._allegiance.closes(self._reign.required, self._reign.master):
            return True
        needed = self.is_master or self._node in self._reign.required
        return not needed and self._allegiance.let_go(holds_log=bool(self._replica.voters))

    # --- for tests and for people -----------------------------------------------------------------

    def required_voters(self) -> tuple[tuple[str, ...], ...]:
        """The sets of voters that must agree now, as this node's log has them."""
        return self._replica.required

    def validate(self) -> None:
        """Raises AssertionError, with the story, if the node contradicts itself."""
        self._replica.validate()
        if self._reign.master is not None:
            self._reign.master.validate()

    def describe(self) -> str:
        """One line: the replica's role, whom the worker's side follows."""
        return f"{self._replica.story()}; follows {self._worker.master or 'nobody'}"

    def story(self, evaluation: int) -> str:
        """What happened to an evaluation's sessions, one line each; empty where nothing is known."""
        return self._reign.master.story(evaluation) if self._reign.master is not None else ""
