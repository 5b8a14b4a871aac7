"""What carries out a replica's effects in the simulated world: the counterpart of a node's shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.core.voting_events import (
    BecomeMaster,
    Commit,
    FetchSnapshot,
    Isolation,
    Persist,
    Persisted,
    Placed,
    Received,
    Refused,
    ReplicaEffect,
    ReplicaEvent,
    Send,
    SnapshotFetched,
    StepDown,
    TruncateTail,
    VotersChanged,
)
from tests.simulation.node import Node

if TYPE_CHECKING:
    from tests.simulation.world import World


class Shell:
    """One for the whole world; ``tickets`` are the payloads that clients wait for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tickets: dict[int, bytes] = {}

    def carry_out(self, node: Node, effect: ReplicaEffect) -> None:
        match effect:
            case Send():
                self._transmit(node, effect)
            case Persist():
                weather = self._world.network.weather
                took = weather.write + self._world.random.random() * weather.write_jitter
                node.writes_end = max(node.writes_end, self._world.now) + took
                self._world.at(node.writes_end, self._written, node, node.incarnation, effect)
            case Commit():
                self._committed(node, effect)
            case Placed():
                payload = self.tickets.pop(effect.ticket)
                assert node.replica is not None
                node.pending[effect.first] = (payload, node.replica.epoch)
            case Refused():
                self.tickets.pop(effect.ticket)
            case BecomeMaster():
                self._world.say(f"{node.name} is master of {effect.epoch}{', alone' if effect.alone else ''}")
                self._world.ledger.on_master(node.name, effect)
            case StepDown():
                self._world.say(f"{node.name} steps down from {effect.epoch}: {effect.reason}")
                node.pending.clear()
            case Isolation():
                self._world.say(f"{node.name} is {'isolated' if effect.isolated else 'in contact again'}")
            case TruncateTail():
                what = "committed" if effect.committed else "uncommitted"
                self._world.say(
                    f"{node.name} drops {len(effect.records)} {what} from #{effect.truncate_from} on"
                )
                self._world.ledger.on_truncate(node.name, effect)
            case VotersChanged():
                if node.replica is not None and node.replica.acting:
                    self._world.say(f"{node.name}: voters are {' '.join(effect.voters)}")
            case FetchSnapshot():
                delay = self._world.network.weather.delay * 4
                self._world.at(self._world.now + delay, self._fetched, node, node.incarnation, effect.node)

    def _transmit(self, sender: Node, effect: Send) -> None:
        node = self._world.nodes.get(effect.node)
        if node is None:
            return
        event = Received(node=sender.name, incarnation=sender.incarnation, message=effect.message)

        def arrive(delay: float) -> None:
            self._world.at(self._world.now + delay, self._arrive, sender.name, node, node.incarnation, event)

        self._world.network.transmit(sender, effect.node, arrive)

    def _arrive(self, sender: str, node: Node, incarnation: int, event: ReplicaEvent) -> None:
        # A cut that came meanwhile also loses what is on the way.
        if (sender, node.name) not in self._world.network.cuts:
            self._world.post(node, incarnation, event)

    def _written(self, node: Node, incarnation: int, effect: Persist) -> None:
        if node.replica is None or node.incarnation != incarnation:
            return
        node.disk.write(effect)
        self._world.post(node, incarnation, Persisted(number=effect.number))

    def _committed(self, node: Node, effect: Commit) -> None:
        self._world.ledger.on_commit(node.name, effect)
        if not node.pending:
            return
        for record in effect.records:
            placed = node.pending.get(record.position)
            if placed is not None and placed == (record.payload, record.epoch):
                del node.pending[record.position]
                self._world.ledger.acknowledge(record.payload, record.position)
                self._world.say(f"{node.name} acknowledges {record.payload.decode()} at #{record.position}")

    def _fetched(self, node: Node, incarnation: int, source: str) -> None:
        holder = self._world.nodes[source]
        if (
            not holder.up
            or holder.paused
            or self._world.network.apart(node, holder)
            or node.incarnation != incarnation
        ):
            return
        disk = holder.disk
        node.disk.fetched[disk.base] = list(disk.snapshot)
        self._world.post(node, incarnation, SnapshotFetched(upto=disk.base, voters=disk.base_voters))
