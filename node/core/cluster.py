"""``ClusterState``: the one entrance. Events go in, effects come out, time is an argument.

It joins four machines, each of which knows only its own matter: the replica (the log, who is
master), the neighbourhood (ring and connections), the worker's side, and, while this node reigns, the
master's side. What a node says to itself is looped back here instead of being sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core import ring_events as re
from node.core import voting_events as ve
from node.core.master import Master
from node.core.membership import Roster
from node.core.neighbourhood import Found, Neighbourhood
from node.core.replication import Replica
from node.core.settings import CoreSettings
from node.core.timing import Timing
from node.core.worker import Worker
from proto import messages as m
from proto import voting as v
from proto.voting import NO_EPOCH, Epoch


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
        self._settings = settings
        self._node = node
        self._address = address
        self._incarnation = incarnation
        self._slots, self._alone = slots, alone
        self._now = now
        self._offset = 0.0
        self._todo: deque[fx.AnyEffect] = deque()
        self._replica = Replica(node, saved, timing, now)
        self._around = Neighbourhood(node, timing, now, self._todo.extend, self._found)
        self._worker = Worker(settings, node)
        self._master: Master | None = None
        self._reign: ve.BecomeMaster | None = None
        self._followed = NO_EPOCH
        self._members = Roster(node, members).message(0, self._replica.voters)
        self._joined = ""
        self._hinted = ""
        self._agreed: tuple[str, ...] = saved.base_voters
        self._offered: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()
        self._tickets = 0
        self._placed: int | None = None
        self._stopping = self._stopped = False

    # --- what the shell may ask -------------------------------------------------------------------

    @property
    def is_master(self) -> bool:
        """Whether this node decides."""
        return self._master is not None

    @property
    def master(self) -> str:
        """Node id of the master as far as this node knows, or empty."""
        if self._master is not None:
            return self._node
        return self._worker.master or (self._replica.master if self._replica.master != self._node else "")

    @property
    def epoch(self) -> int:
        """The highest epoch this node knows of."""
        return max(self._replica.epoch.counter, self._followed.counter)

    @property
    def others(self) -> tuple[str, ...]:
        """The other nodes that hold the log, or are about to."""
        offered = self._offered if self._master is not None else ()
        return tuple(node for node in dict.fromkeys((*self._replica.voters, *offered)) if node != self._node)

    def serving(self, now: float) -> bool:
        """Whether this node may answer reads: master, with a majority of the voters in contact."""
        return self._master is not None and self._replica.serving(now)

    def address_of(self, node: str) -> str:
        """Where a node was last known to be, or empty."""
        return self._around.address(node)

    def addresses(self) -> dict[str, str]:
        """Node id -> address of the live members."""
        return self._master.roster.addresses() if self._master is not None else {}

    def live(self, evaluation: int) -> dict[tuple[int, str], int]:
        """(project, module) -> tests that run right now."""
        return self._master.lifecycle.running(evaluation) if self._master is not None else {}

    def next_deadline(self) -> float | None:
        """When to come back with a ``Tick`` at the latest, on the clock of ``now``."""
        deadlines = (
            self._replica.next_deadline(),
            self._around.next_deadline(),
            self._worker.drain_deadline,
            self._master.next_deadline() if self._master is not None else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- the entrance -----------------------------------------------------------------------------

    def handle(self, event: ev.AnyEvent, now: float) -> list[fx.AnyEffect]:
        """What is to be done about one event, in this order."""
        # Unix time follows the clock between the events that carry it.
        self._offset = getattr(event, "at", now + self._offset) - now
        self._now = now
        self._on(event)
        out: list[fx.AnyEffect] = []
        while True:
            self._follow_up()
            if not self._todo:
                break
            while self._todo:
                effect = self._todo.popleft()
                if isinstance(effect, fx.Send) and effect.node == self._node:
                    self._said(self._node, effect.message)
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
                self._tick()
            case ve.Persisted() | ve.SnapshotFetched() | ve.Compacted():
                self._vote(event)
            case ev.PeerUp():
                self._up(event)
            case ev.PeerDown():
                self._down(event)
            case ev.Dialled():
                self._around.dialled(event, self._now)
            case ev.Replayed():
                self._begin(event)
            case ev.Stopping():
                self._stop()
            case _:
                self._ask(event)

    def _ask(self, event: ev.AnyEvent) -> None:
        """What only a master takes; others say so to those who wait for an answer."""
        master = self._master
        if master is None:
            if isinstance(event, ev.Submitted | ev.Asked):
                self._todo.append(fx.Answer(ticket=event.ticket, status=503, body=None))
            return
        match event:
            case ev.Submitted():
                self._todo.extend(master.submit(event))
            case ev.Cloned() | ev.CloneFailed():
                master.cloned(event)
            case ev.Equipped():
                master.holders.equipped(event)
            case ev.Recalled():
                master.recalled(event)
            case ev.Committed():
                self._todo.extend(master.committed(event.position))
            case ev.Asked():
                self._todo.extend(master.ask(event, self._now, self._around.connected))

    def _tick(self) -> None:
        now = self._now
        deadline = self._replica.next_deadline()
        if deadline is not None and now >= deadline:
            self._vote(ve.Tick())
        self._around.tick(now)
        if self._master is not None:
            self._todo.extend(self._master.tick(now))
        if self._worker.drain_deadline is not None and now >= self._worker.drain_deadline:
            self._worker.drain_deadline = now + 1.0
            self._todo.extend(self._worker.overdue())

    def _follow_up(self) -> None:
        """What follows from the state as it is now, whatever brought it about."""
        master = self._master
        if master is not None:
            self._council(master)
            at = self._now + self._offset
            self._todo.extend(master.advance(self._now, at, self._around.connected))
        self._seat()
        self._around.connect(self._wanted(), self._now)
        self._tell_neighbours()
        if self._stopping and not self._stopped and self._may_go():
            self._stopped = True
            if self._worker.master and self._worker.master != self._node:
                self._todo.append(fx.Disconnect(node=self._worker.master, reason="drained"))
            self._todo.append(fx.Stop())

    # --- the log ----------------------------------------------------------------------------------

    def _vote(self, event: ve.ReplicaEvent) -> None:
        for effect in self._replica.handle(event, self._now):
            match effect:
                case ve.Send():
                    self._todo.append(fx.Send(node=effect.node, message=effect.message))
                case ve.BecomeMaster():
                    self._reign = effect
                    self._say(f"master of epoch {effect.epoch}{', alone' if effect.alone else ''}")
                    self._todo.append(fx.Load(epoch=effect.epoch))
                case ve.StepDown():
                    self._end(effect)
                case ve.Isolation():
                    self._isolate(effect.isolated)
                case ve.Placed():
                    self._placed = effect.last
                case ve.Refused():
                    self._placed = None
                case ve.VotersChanged():
                    self._agreed = effect.voters
                    self._say(f"the log is held by {' '.join(effect.voters)}")
                case _:
                    self._todo.append(effect)

    def _log(self, records: tuple[rec.AnyRecord, ...]) -> int | None:
        """The master's way into the log."""
        self._tickets += 1
        payloads = tuple(rec.encode(record) for record in records)
        self._vote(ve.Append(ticket=self._tickets, payloads=payloads))
        return self._placed

    def _begin(self, event: ev.Replayed) -> None:
        """The tables hold everything that was committed before: the reign begins."""
        reign = self._reign
        if reign is None or reign.epoch != event.epoch or self._master is not None:
            return
        self._master = Master(
            self._settings, self._node, reign.epoch, event, self._log, alone=reign.alone, now=self._now
        )
        self._master.isolated = not self._replica.serving(self._now)
        self._council(self._master)
        self._join(self._node)
        for member in event.members:
            if self._around.is_dead(member.node) or self._replica.believes_dead(member.node):
                self._todo.extend(self._master.bury(member.node, "dead"))
        for node in sorted(self._around.connected):
            self._todo.extend(self._master.greet(node))

    def _end(self, effect: ve.StepDown) -> None:
        master, self._master, self._reign = self._master, None, None
        self._offered, self._joined = (), ""
        self._worker.lost()
        self._say(f"steps down from epoch {effect.epoch}: {effect.reason}")
        if master is not None:
            self._todo.extend(master.abandoned())

    def _isolate(self, isolated: bool) -> None:
        self._say("no majority of the voters answers" if isolated else "a majority of the voters answers")
        if self._master is not None:
            self._master.isolated = isolated

    def _council(self, master: Master) -> None:
        """Keep the replica and the holders' list told of each other."""
        holders = master.holders
        holders.settled = self._replica.settled
        required = tuple(dict.fromkeys(node for voters in self._replica.required for node in voters))
        known = (holders.voters, holders.committed, holders.required)
        if known != (self._replica.voters, self._agreed, required):
            holders.voters, holders.committed = self._replica.voters, self._agreed
            holders.required = required
            holders.changed()
            self._todo.extend(master.announce())
        offered = holders.eligible()
        if offered != self._offered:
            self._offered = offered
            self._vote(ve.Roster(nodes=offered, replicas=self._settings.replicas))

    # --- peers ------------------------------------------------------------------------------------

    def _up(self, event: ev.PeerUp) -> None:
        node = event.node
        if node == self._joined:
            self._joined = ""
        self._around.up(event, self._now)
        self._vote(ve.PeerUp(node=node, incarnation=event.incarnation))
        if self._master is not None:
            self._master.away(node)
            self._master.holders.changed()
            self._todo.extend(self._master.greet(node))
        elif self.master:
            self._todo.append(self._hint(node))

    def _hint(self, node: str) -> fx.AnyEffect:
        hint = self._around.address(self.master) if self.master != node else ""
        return fx.Send(node=node, message=m.NotMaster(epoch=self.epoch, hint=hint))

    def _down(self, event: ev.PeerDown) -> None:
        if not self._around.down(event, self._now):
            return
        if event.node == self._joined:
            self._joined = ""
        if event.node == self._worker.master:
            self._worker.lost()
        if self._master is not None:
            self._master.away(event.node)
            self._master.holders.changed()

    def _found(self, found: Found) -> None:
        """What the ring says of a node."""
        match found:
            case re.Died():
                self._vote(ve.PeerDied(node=found.node, incarnation=found.incarnation))
                self._bury(found.node, found.incarnation, "dead")
            case re.Left():
                if self._master is not None:
                    self._todo.extend(self._master.bury(found.node, "left"))
            case re.Silent():
                self._bury(found.node, found.incarnation, "silent")

    def _bury(self, node: str, incarnation: int, why: str) -> None:
        """A master's decision; of a later process of the node nothing is known by this."""
        master = self._master
        if master is None or master.isolated or master.roster.incarnation(node) > incarnation:
            return
        if why == "dead":
            self._todo.extend(master.bury(node, "dead"))
        elif not self._around.hears(node, self._now):
            self._todo.extend(master.bury(node, "silent"))

    # --- what is said -----------------------------------------------------------------------------

    def _received(self, event: ev.Received) -> None:
        incarnation = self._around.incarnation(event.node)
        if incarnation is None:
            return
        message = event.message
        if isinstance(message, RING):
            self._around.said(event.node, incarnation, message, self._now)
        else:
            self._around.heard(event.node, incarnation, self._now)
        self._said(event.node, message)

    def _said(self, node: str, message: m.AnyMessage) -> None:
        """A message of a peer, or of this node to itself."""
        incarnation = self._incarnation if node == self._node else self._around.incarnation(node)
        if incarnation is None:
            return
        if isinstance(message, VOTING) and node != self._node:
            self._vote(ve.Received(node=node, incarnation=incarnation, message=message))
        if isinstance(message, v.Evidence):
            self._bury(message.node, message.incarnation, "dead")
        elif isinstance(message, v.SilenceReport):
            self._bury(message.node, message.incarnation, "silent")
        elif isinstance(message, m.Members):
            self._on_members(node, message)
        elif isinstance(message, m.Drain):
            self._stop()
        elif isinstance(message, TO_WORKER):
            if node == self._worker.master:
                self._todo.extend(self._worker.receive(message))
        elif self._master is not None:
            if node not in self._master.roster and not isinstance(message, JOINING):
                self._todo.extend(self._master.greet(node))
            self._todo.extend(self._master.receive(node, message, incarnation, self._now))
        elif isinstance(message, m.Join):
            self._todo.append(self._hint(node))

    def _on_members(self, node: str, message: m.Members) -> None:
        """A master's roster: follow the highest epoch; a stale master's word counts no more."""
        epoch = Epoch(message.epoch, node)
        if epoch < self._followed or (self._reign is not None and node != self._node):
            return
        self._followed, self._members = epoch, message
        named = any(member.node == self._node for member in message.members)
        if self._joined != node or (self._worker.welcome and not named):
            self._join(node)
        if self._hinted != node:
            self._hinted = node
            self._todo.extend(self._hint(other) for other in sorted(self._around.connected - {node}))

    def _join(self, node: str) -> None:
        self._joined = node
        join = m.Join(
            address=self._address,
            slots=self._slots,
            alone=self._alone,
            isolation=self._settings.isolation,
            draining=self._stopping,
        )
        self._todo.extend(self._worker.follow(node, join))

    # --- whom to know -----------------------------------------------------------------------------

    def _seat(self) -> None:
        if self._master is not None:
            self._members = self._master.members()
        self._around.seat(self._members.members, self._members.voters, self._now)

    def _wanted(self) -> Iterable[str]:
        voters = self._replica.voters if self._node in self._replica.voters else ()
        if self._master is not None:
            return {*voters, *self._master.roster.awaited, self._around.successor} - {""}
        if not self.master:
            voters = (*voters, *self._members.voters)
        return {*voters, self._followed.node, self._around.successor} - {""}

    def _tell_neighbours(self) -> None:
        addresses = self._around.addresses()
        if addresses != self._told and self._worker.welcome:
            self._told = addresses
            self._todo.append(fx.Send(node=self._worker.master, message=m.Neighbours(addresses=addresses)))

    # --- leaving ----------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._alone_with_the_log():
            # The evaluations go on when a node is started on this disk again.
            return
        self._todo.extend(self._worker.drain(self._now))
        self._vote(ve.Leave(incarnation=self._incarnation))

    def _alone_with_the_log(self) -> bool:
        return self._replica.required == ((self._node,),)

    def _may_go(self) -> bool:
        """Nothing runs here, nothing waits for an answer, and the others hold the log without this node."""
        if self._alone_with_the_log():
            return True
        # Not before the set without it is committed: until then the others need its vote.
        needed = any(self._node in voters for voters in self._replica.required)
        return self._worker.drained() and not needed and self._master is None and self._let_go()

    def _let_go(self) -> bool:
        """Whether the master, if there is one, knows that this node leaves, and will not make it a voter."""
        if not self._worker.master:
            return True
        knows = all(member.draining for member in self._members.members if member.node == self._node)
        return knows and self._node not in self._members.voters

    def _say(self, text: str) -> None:
        self._todo.append(fx.Say(text=text))

    def validate(self) -> None:
        """Raises AssertionError, with the story, if the node contradicts itself."""
        self._replica.validate()
        if self._master is not None:
            self._master.validate()

    def required_voters(self) -> tuple[tuple[str, ...], ...]:
        """The sets of voters that must agree now, as this node's log has them."""
        return self._replica.required

    def describe(self) -> str:
        """One line for people: the replica's role, whom the worker's side follows."""
        return f"{self._replica.story()}; follows {self._worker.master or 'nobody'}"

    def story(self, evaluation: int) -> str:
        """What happened to an evaluation's sessions, one line each; empty where nothing is known."""
        return self._master.story(evaluation) if self._master is not None else ""


VOTING = (
    v.AppendEntries
    | v.AppendAnswer
    | v.InstallSnapshot
    | v.PreVote
    | v.Vote
    | v.VoteAnswer
    | v.Resigned
    | v.LeaveVoters
    | v.Evidence
)
RING = v.RingPing | v.RingPong | v.SilenceQuestion | v.SilenceOpinion
TO_WORKER = m.OpenSession | m.Run | m.Withdraw | m.CloseSession | m.Answered | m.Welcome
"""Messages that only a master sends; the worker's side takes them."""
JOINING = m.Join | m.Held | m.HeldRun | m.Reported | m.NotMaster | m.Neighbours
"""Messages of nodes that are not, or not yet, members."""
