"""A cluster in virtual time: replicas, their disks, the network between them, one event at a time.

Everything random comes from one seeded generator and every queue is ordered, so a seed replays
exactly, in any process.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from node.core.replication import Replica
from node.core.timing import Timing
from node.core.voting_events import (
    Append,
    Compacted,
    Leave,
    PeerDied,
    PeerUp,
    ReplicaEvent,
    Roster,
    Tick,
    found,
)
from tests.simulation.checks import Ledger, Violation
from tests.simulation.disk import Disk
from tests.simulation.network import Network
from tests.simulation.node import Node
from tests.simulation.shell import Shell

MOST_EVENTS = 50_000
"""Far more than any run needs; two nodes that answer each other for ever reach it at once."""


class World:
    """``at`` schedules, ``run`` advances the time, ``post`` is every node's inbox."""

    def __init__(self, seed: int, timing: Timing, *, trace: bool = False, two_masters: bool = False) -> None:
        self.now = 100.0
        self.random = Random(seed)
        self.timing = timing
        self.nodes: dict[str, Node] = {}
        self.network = Network(self.random)
        self.ledger = Ledger(two_masters=two_masters)
        self.replicas = 1
        self.story: list[str] = []
        self.handled = 0
        self._trace = trace
        self._queue: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = 0
        self._ticket = 0
        self.shell = Shell(self)

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
            if other is not node and other.up and not self.network.apart(node, other):
                soon = self.now + self.network.weather.delay
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
            if other.up and not self.network.apart(dead, other):
                self.evidence(dead, other)

    def evidence(self, dead: Node, witness: Node) -> None:
        """One node will see, rightly or not, that this incarnation is dead."""
        delay = self.network.weather.delay + self.random.random() * self.network.weather.jitter
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

    def heal(self) -> None:
        """All links work again; redials tell who died meanwhile."""
        if self.network.cuts:
            self.say("the network heals")
        self.network.cuts.clear()
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
            self.shell.carry_out(node, effect)
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

    # --- clients, rosters, compaction ---------------------------------------------------------

    def append(self, payload: bytes, node: Node | None = None) -> None:
        """A client sends a record to a node that says it is master."""
        if node is None:
            acting = [n for n in self.nodes.values() if n.replica is not None and n.replica.acting]
            if not acting:
                return
            node = self.random.choice(acting)
        self._ticket += 1
        self.shell.tickets[self._ticket] = payload
        self.post(node, node.incarnation, Append(ticket=self._ticket, payloads=(payload,)))

    def tell_roster(self) -> None:
        """Every acting master learns which nodes it could use."""
        for master in list(self.nodes.values()):
            if master.replica is not None and master.replica.acting:
                alive = tuple(
                    node.name
                    for node in self.nodes.values()
                    if node.up
                    and not node.paused
                    and not node.leaving
                    and not self.network.apart(master, node)
                )
                self.post(master, master.incarnation, Roster(nodes=alive, replicas=self.replicas))

    def compact(self, node: Node) -> None:
        if node.replica is None or node.paused or node.replica.journal.log.base != node.disk.base:
            return
        position = min(node.replica.commit, node.disk.base.position + len(node.disk.records))
        if position > node.disk.base.position:
            node.disk.compact(position)
            self.post(node, node.incarnation, Compacted(position=position))
