"""A cluster in virtual time: replicas, their disks, the network between them, one event at a time.

Everything random comes from one seeded generator and every queue is ordered, so a seed replays
exactly, in any process.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from node.core.replication import Replica
from node.core.timing import Timing
from node.core.voting_events import (
    Append,
    BecomeMaster,
    Commit,
    Compacted,
    FetchSnapshot,
    Isolation,
    Leave,
    PeerDied,
    PeerUp,
    Persist,
    Persisted,
    Placed,
    Received,
    Refused,
    ReplicaEffect,
    ReplicaEvent,
    Roster,
    Saved,
    Send,
    SnapshotFetched,
    StepDown,
    Tick,
    TruncateTail,
    VotersChanged,
    found,
)
from node.core.voting_messages import VotingMessage
from tests.simulation.checks import Ledger, Violation
from tests.simulation.disk import Disk

MOST_EVENTS = 50_000
"""Far more than any run needs; two nodes that answer each other for ever reach it at once."""


@dataclass
class Weather:
    """How the network and the disks behave. Seconds and probabilities."""

    delay: float = 0.002
    jitter: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    """A message that takes up to ten times as long, and so overtakes nobody and is overtaken."""
    write: float = 0.004
    write_jitter: float = 0.0


@dataclass
class Node:
    """One node: a disk for ever, a replica while it runs."""

    name: str
    disk: Disk
    incarnation: int = 0
    replica: Replica | None = None
    paused: bool = False
    leaving: bool = False
    quiet_death: bool = False
    """It lost its power: no kernel is left to refuse a connection."""
    inbox: list[ReplicaEvent] = field(default_factory=list)
    tick_at: float = -1.0
    writes_end: float = 0.0
    pending: dict[int, tuple[bytes, object]] = field(default_factory=dict)
    """Records placed here and not yet acknowledged: position to payload and epoch."""

    @property
    def up(self) -> bool:
        return self.replica is not None


class World:
    """``at`` schedules, ``run`` advances the time, ``post`` is every node's inbox."""

    def __init__(self, seed: int, timing: Timing, *, trace: bool = False, two_masters: bool = False) -> None:
        self.now = 100.0
        self.random = Random(seed)
        self.timing = timing
        self.weather = Weather()
        self.nodes: dict[str, Node] = {}
        self.cuts: set[tuple[str, str]] = set()
        self.ledger = Ledger(two_masters=two_masters)
        self.replicas = 1
        self.story: list[str] = []
        self.handled = 0
        self._trace = trace
        self._queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = 0
        self._ticket = 0
        self._tickets: dict[int, bytes] = {}

    # --- time ---------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[..., None], *arguments: object) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, action, arguments))

    def run(self, until: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= until:
            when, _, action, arguments = heapq.heappop(queue)
            self.now = when
            action(*arguments)
        self.now = until

    def say(self, line: str) -> None:
        if self._trace:
            self.story.append(f"{self.now - 100.0:8.3f} {line}")

    # --- nodes --------------------------------------------------------------------------------

    def add(self, name: str, *, founder: bool = False) -> Node:
        disk = Disk.of(found(name)) if founder else Disk()
        node = self.nodes[name] = Node(name, disk)
        if founder:
            self.ledger.committed[1] = disk.records[0]
        self.start(node)
        return node

    def start(self, node: Node) -> None:
        node.incarnation += 1
        node.paused = node.leaving = node.quiet_death = False
        node.replica = Replica(node.name, node.disk.saved(), self.timing, self.now)
        node.tick_at = -1.0
        node.writes_end = self.now
        self.say(f"{node.name} starts: log to {node.replica.journal.log.last}")
        self._schedule_tick(node)
        self.tell_up(node)

    def tell_up(self, node: Node) -> None:
        """Connections are made both ways."""
        for other in self.nodes.values():
            if other is not node and other.up and not self.cut(node, other):
                soon = self.now + self.weather.delay
                self.at(
                    soon,
                    self.post,
                    other,
                    other.incarnation,
                    PeerUp(node=node.name, incarnation=node.incarnation),
                )
                self.at(
                    soon,
                    self.post,
                    node,
                    node.incarnation,
                    PeerUp(node=other.name, incarnation=other.incarnation),
                )

    def crash(self, node: Node, *, quiet: bool = False) -> None:
        """Kill the process; ``quiet``: the whole machine, so that nobody hears of it."""
        if node.replica is None:
            return
        self.say(f"{node.name} {'loses its power' if quiet else 'is killed'}")
        node.replica.validate()
        node.replica = None
        node.paused = False
        node.inbox.clear()
        node.pending.clear()
        node.quiet_death = quiet
        if not quiet:
            self.spread_evidence(node)

    def spread_evidence(self, dead: Node) -> None:
        """The kernel of a dead process answers with FIN or RST whoever can reach it."""
        for other in self.nodes.values():
            if other.up and not self.cut(dead, other):
                self.evidence(dead, other)

    def evidence(self, dead: Node, witness: Node) -> None:
        """One node will see, rightly or not, that this incarnation is dead."""
        delay = self.weather.delay + self.random.random() * self.weather.jitter
        event = PeerDied(node=dead.name, incarnation=dead.incarnation)
        self.at(self.now + delay, self.post, witness, witness.incarnation, event)

    def leave(self, node: Node) -> None:
        """Drain: the node wants out of the voters, and stays up until it is told."""
        self.say(f"{node.name} drains")
        node.leaving = True
        self.post(node, node.incarnation, Leave(incarnation=node.incarnation))

    def pause(self, node: Node) -> None:
        self.say(f"{node.name} is paused")
        node.paused = True

    def resume(self, node: Node) -> None:
        if not node.paused:
            return
        self.say(f"{node.name} goes on")
        node.paused = False
        inbox, node.inbox = node.inbox, []
        for event in inbox:
            self._handle(node, event)
        self._schedule_tick(node)

    def cut(self, one: Node, other: Node) -> bool:
        return (one.name, other.name) in self.cuts or (other.name, one.name) in self.cuts

    def heal(self) -> None:
        """All links work again; redials tell who died meanwhile."""
        if self.cuts:
            self.say("the network heals")
        self.cuts.clear()
        for node in self.nodes.values():
            if node.up:
                self.tell_up(node)
            elif not node.quiet_death:
                self.spread_evidence(node)

    # --- events and effects -------------------------------------------------------------------

    def post(self, node: Node, incarnation: int, event: ReplicaEvent) -> None:
        """An event for this incarnation; a later one never sees it."""
        if node.replica is None or node.incarnation != incarnation:
            return
        if node.paused:
            node.inbox.append(event)
        else:
            self._handle(node, event)

    def _handle(self, node: Node, event: ReplicaEvent) -> None:
        replica = node.replica
        if replica is None:
            return
        self.handled += 1
        if self.handled > MOST_EVENTS:
            raise Violation(f"the cluster talks without end: {MOST_EVENTS} events")
        if self._trace and isinstance(event, PeerDied):
            self.say(f"{node.name} has evidence that {event.node} is dead")
        for effect in replica.handle(event, self.now):
            self._carry_out(node, effect)
        deadline = replica.next_deadline()
        if deadline is not None and (node.tick_at < 0 or deadline < node.tick_at):
            self._schedule_tick(node)

    def _schedule_tick(self, node: Node) -> None:
        deadline = node.replica.next_deadline() if node.replica is not None else None
        if deadline is None:
            node.tick_at = -1.0
            return
        node.tick_at = max(deadline, self.now)
        self.at(node.tick_at, self._tick, node, node.incarnation, node.tick_at)

    def _tick(self, node: Node, incarnation: int, when: float) -> None:
        if node.replica is None or node.incarnation != incarnation or node.paused or node.tick_at != when:
            return
        node.tick_at = -1.0
        deadline = node.replica.next_deadline()
        if deadline is not None and deadline > self.now:
            self._schedule_tick(node)
            return
        self._handle(node, Tick())

    def _carry_out(self, node: Node, effect: ReplicaEffect) -> None:
        match effect:
            case Send():
                self.transmit(node, effect.node, effect.message)
            case Persist():
                weather = self.weather
                took = weather.write + self.random.random() * weather.write_jitter
                node.writes_end = max(node.writes_end, self.now) + took
                self.at(node.writes_end, self._written, node, node.incarnation, effect)
            case Commit():
                self._committed(node, effect)
            case Placed():
                payload = self._tickets.pop(effect.ticket)
                assert node.replica is not None
                node.pending[effect.first] = (payload, node.replica.epoch)
            case Refused():
                self._tickets.pop(effect.ticket)
            case BecomeMaster():
                self.say(f"{node.name} is master of {effect.epoch}{', alone' if effect.alone else ''}")
                self.ledger.on_master(node.name, effect)
            case StepDown():
                self.say(f"{node.name} steps down from {effect.epoch}: {effect.reason}")
                node.pending.clear()
            case Isolation():
                self.say(f"{node.name} is {'isolated' if effect.isolated else 'in contact again'}")
            case TruncateTail():
                what = "committed" if effect.committed else "uncommitted"
                self.say(f"{node.name} drops {len(effect.records)} {what} from #{effect.truncate_from} on")
                self.ledger.on_truncate(node.name, effect)
            case VotersChanged():
                if node.replica is not None and node.replica.acting:
                    self.say(f"{node.name}: voters are {' '.join(effect.voters)}")
            case FetchSnapshot():
                delay = self.weather.delay * 4
                self.at(self.now + delay, self._fetched, node, node.incarnation, effect.node)

    def transmit(self, sender: Node, receiver: str, message: VotingMessage) -> None:
        node = self.nodes.get(receiver)
        if node is None or (sender.name, receiver) in self.cuts:
            return
        weather, random = self.weather, self.random
        copies = 1
        if weather.drop and random.random() < weather.drop:
            return
        if weather.duplicate and random.random() < weather.duplicate:
            copies = 2
        for _ in range(copies):
            delay = weather.delay
            if weather.jitter:
                delay += random.random() * weather.jitter
                if random.random() < weather.late:
                    delay *= 1 + 9 * random.random()
            event = Received(node=sender.name, incarnation=sender.incarnation, message=message)
            self.at(self.now + delay, self._arrive, sender.name, node, node.incarnation, event)

    def _arrive(self, sender: str, node: Node, incarnation: int, event: ReplicaEvent) -> None:
        # A cut that came meanwhile also loses what is on the way.
        if (sender, node.name) not in self.cuts:
            self.post(node, incarnation, event)

    def _written(self, node: Node, incarnation: int, effect: Persist) -> None:
        if node.replica is None or node.incarnation != incarnation:
            return
        node.disk.write(effect)
        self.post(node, incarnation, Persisted(number=effect.number))

    def _committed(self, node: Node, effect: Commit) -> None:
        self.ledger.on_commit(node.name, effect)
        if not node.pending:
            return
        for record in effect.records:
            placed = node.pending.get(record.position)
            if placed is not None and placed == (record.payload, record.epoch):
                del node.pending[record.position]
                self.ledger.acknowledge(record.payload, record.position)
                self.say(f"{node.name} acknowledges {record.payload.decode()} at #{record.position}")

    def _fetched(self, node: Node, incarnation: int, source: str) -> None:
        holder = self.nodes[source]
        if not holder.up or holder.paused or self.cut(node, holder) or node.incarnation != incarnation:
            return
        disk = holder.disk
        node.disk.fetched[disk.base] = list(disk.snapshot)
        self.post(node, incarnation, SnapshotFetched(upto=disk.base, voters=disk.base_voters))

    # --- clients, rosters, compaction ---------------------------------------------------------

    def append(self, payload: bytes, node: Node | None = None) -> None:
        """A client sends a record to a node that says it is master."""
        if node is None:
            acting = [n for n in self.nodes.values() if n.replica is not None and n.replica.acting]
            if not acting:
                return
            node = self.random.choice(acting)
        self._ticket += 1
        self._tickets[self._ticket] = payload
        self.post(node, node.incarnation, Append(ticket=self._ticket, payloads=(payload,)))

    def tell_roster(self) -> None:
        """Every acting master learns which nodes it could use."""
        for master in list(self.nodes.values()):
            if master.replica is not None and master.replica.acting:
                alive = tuple(
                    node.name
                    for node in self.nodes.values()
                    if node.up and not node.paused and not node.leaving and not self.cut(master, node)
                )
                self.post(master, master.incarnation, Roster(nodes=alive, replicas=self.replicas))

    def compact(self, node: Node) -> None:
        if node.replica is None or node.paused or node.replica.journal.log.base != node.disk.base:
            return
        position = min(node.replica.commit, node.disk.base.position + len(node.disk.records))
        if position > node.disk.base.position:
            node.disk.compact(position)
            self.post(node, node.incarnation, Compacted(position=position))

    def saved(self, name: str) -> Saved:
        return self.nodes[name].disk.saved()
