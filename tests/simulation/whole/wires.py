"""Connections between simulated nodes: in order while they last, as slow and as mortal as real ones.

A wire has two ends, which come up and go down each in its own time. What is sent into a cut waits,
as in a kernel's buffer, until the cut heals or an end gives up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.core import events as ev
from proto.messages import AnyMessage
from tests.simulation.whole.process import Process

if TYPE_CHECKING:
    from tests.simulation.whole.world import World

GIVES_UP = 5.0
"""An end that hears nothing for so many suspect limits closes the connection."""


@dataclass
class Weather:
    """How the network behaves; seconds and probabilities."""

    delay: float = 0.0005
    jitter: float = 0.02
    late: float = 0.0
    """Share of the messages that take up to twenty times as long; those behind them wait."""


@dataclass(eq=False)
class End:
    """One side of a wire: ``up`` from its ``PeerUp`` to its ``PeerDown``."""

    process: Process
    up: bool = False
    heard: float = 0.0
    last: float = 0.0
    """When the newest message on its way to this end arrives."""
    early: list[AnyMessage] = field(default_factory=list)
    """Messages that came before the end was up."""
    stalled: deque[AnyMessage] = field(default_factory=deque)
    """Messages to this end that a cut holds up."""


@dataclass(eq=False)
class Wire:
    """An authenticated control connection between two processes."""

    ends: dict[str, End]

    def other(self, name: str) -> End:
        """The far end, seen from ``name``."""
        return next(end for node, end in self.ends.items() if node != name)


class Wires:
    """All connections of the world. ``cuts`` are directed: (sender, receiver)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.weather = Weather()
        self.cuts: set[tuple[str, str]] = set()
        self.dark: set[str] = set()
        """Machines without power: nothing answers for them."""
        self.forged = False
        """A middlebox refuses every connection in the other's name."""
        self._wires: dict[tuple[str, str], Wire] = {}
        """(node, peer) -> the wire that ``node`` believes in."""
        self.all: list[Wire] = []

    # --- state ------------------------------------------------------------------------------------

    def of(self, node: str, peer: str) -> Wire | None:
        """The wire that ``node`` sends to ``peer`` on."""
        return self._wires.get((node, peer))

    def delay(self) -> float:
        """Seconds that something takes now."""
        weather, random = self.weather, self._world.random
        delay = weather.delay + random.random() * weather.jitter
        if weather.late and random.random() < weather.late:
            delay *= 1 + 19 * random.random()
        return delay

    def _cut(self, one: str, other: str) -> bool:
        return (one, other) in self.cuts or (other, one) in self.cuts

    # --- dialling ---------------------------------------------------------------------------------

    def dial(self, process: Process, node: str) -> None:
        """Try once; ends with ``Dialled`` unless the process dies."""
        self._world.later(self.delay(), lambda: self._arrive(process, node))

    def _arrive(self, process: Process, node: str) -> None:
        if not process.alive:
            return
        world = self._world
        target = world.processes.get(node)
        patience = world.timing.suspect
        if self._cut(process.name, node) or node in self.dark or (target is not None and target.paused):
            world.later(patience, lambda: self._dialled(process, node, "unanswered"))
        elif self.forged or target is None or not target.alive:
            world.later(self.delay(), lambda: self._dialled(process, node, "refused"))
        else:
            self.connect(process, target)
            number = target.incarnation
            # The dialler's end comes up after the other one, and its ``Dialled`` after its ``PeerUp``.
            world.later(2 * self.delay(), lambda: self._dialled(process, node, "answered", number))

    def _dialled(self, process: Process, node: str, how: str, incarnation: int = 0) -> None:
        if how == "answered" and self.of(process.name, node) is None:
            how, incarnation = "unanswered", 0
        event = ev.Dialled(node=node, how=how, incarnation=incarnation)  # type: ignore[arg-type]
        self._world.tell(process, event)

    def connect(self, dialler: Process, other: Process) -> None:
        """Both processes agree on a new connection; an older one is replaced."""
        wire = Wire({dialler.name: End(dialler), other.name: End(other)})
        self.all.append(wire)
        self._replace(wire, other)
        self._world.later(self.delay(), lambda: self._finish(wire, dialler))

    def _finish(self, wire: Wire, dialler: Process) -> None:
        """The dialler's end comes up, unless the other one is down again."""
        if dialler.alive and wire in self.all and wire.other(dialler.name).up:
            self._replace(wire, dialler)

    def _replace(self, wire: Wire, process: Process) -> None:
        peer = wire.other(process.name).process.name
        before = self.of(process.name, peer)
        if before is wire:
            return
        if before is not None:
            self._down(before, process, by_peer=False, replaced=True)
        self._wires[process.name, peer] = wire
        self._raise(wire, process)

    def _raise(self, wire: Wire, process: Process) -> None:
        end = wire.ends[process.name]
        end.up, end.heard = True, self._world.now
        peer = wire.other(process.name).process
        event = ev.PeerUp(node=peer.name, address=f"{peer.name}:7000", incarnation=peer.incarnation)
        self._world.tell(process, event)
        early, end.early = end.early, []
        for message in early:
            self._world.later(0.0, lambda it=message: self._deliver(wire, peer.name, end, it))  # type: ignore[misc]

    # --- messages ---------------------------------------------------------------------------------

    def send(self, process: Process, node: str, message: AnyMessage) -> None:
        """Queue a message; without a connection it is lost."""
        wire = self.of(process.name, node)
        if wire is None:
            return
        target = wire.other(process.name)
        if (process.name, node) in self.cuts or target.stalled:
            target.stalled.append(message)
            return
        self._carry(wire, process.name, target, message)

    def _carry(self, wire: Wire, sender: str, target: End, message: AnyMessage) -> None:
        arrival = max(self._world.now + self.delay(), target.last)
        target.last = arrival
        self._world.at(arrival, lambda: self._deliver(wire, sender, target, message))

    def _deliver(self, wire: Wire, sender: str, target: End, message: AnyMessage) -> None:
        name = target.process.name
        if self.of(name, sender) is not wire:
            # The other end is not up yet (the handshake's last part is on its way), or is down already.
            if target.process.alive and not target.up and wire.other(name).up and wire in self.all:
                target.early.append(message)
            return
        target.heard = self._world.now
        self._world.tell(target.process, ev.Received(node=sender, message=message))

    # --- ends -------------------------------------------------------------------------------------

    def disconnect(self, process: Process, node: str) -> None:
        """Say ``Bye`` and close, after what is queued was sent."""
        wire = self.of(process.name, node)
        if wire is None:
            return
        far = wire.other(process.name)
        self._down(wire, process, by_peer=False, tell_other=False)
        if not self._cut(process.name, node):
            arrival = max(self._world.now + self.delay(), far.last)
            self._world.at(arrival, lambda: self._down(wire, far.process, by_peer=False, bye=True))

    def reset(self, wire: Wire) -> None:
        """A middlebox, or a kernel short of memory, drops the connection; both ends see an error."""
        for end in wire.ends.values():
            self._down(wire, end.process, by_peer=False, tell_other=False)

    def forge(self) -> None:
        """Every connection is closed in the name of the other end, and refused from now on."""
        self.forged = True
        for wire in list(self.all):
            for end in wire.ends.values():
                self._down(wire, end.process, by_peer=True, tell_other=False)

    def died(self, process: Process) -> None:
        """The kernel closes what a dead process had open, for those who can be reached."""
        mine = [w for w in self.all if process.name in w.ends and w.ends[process.name].process is process]
        for wire in mine:
            wire.ends[process.name].up = False
            self._forget(wire, process.name)
            far = wire.other(process.name)
            if process.name in self.dark or self._cut(process.name, far.process.name):
                continue
            # What was sent before the end still arrives before it.
            arrival = max(self._world.now + self.delay(), far.last)
            self._world.at(arrival, lambda wire=wire, far=far: self._fin(wire, far))

    def _fin(self, wire: Wire, far: End) -> None:
        if far.up:
            self._down(wire, far.process, by_peer=True, tell_other=False)
        elif wire in self.all:
            self.all.remove(wire)

    def _gone(self, wire: Wire, end: End) -> None:
        self._down(wire, end.process, by_peer=False, tell_other=False)

    def _down(
        self,
        wire: Wire,
        process: Process,
        *,
        by_peer: bool,
        bye: bool = False,
        replaced: bool = False,
        tell_other: bool = True,
    ) -> None:
        end, far = wire.ends[process.name], wire.other(process.name)
        if not end.up:
            return
        end.up = False
        self._forget(wire, process.name)
        peer = far.process
        event = ev.PeerDown(
            node=peer.name, incarnation=peer.incarnation, by_peer=by_peer, bye=bye, replaced=replaced
        )
        self._world.tell(process, event)
        if tell_other and far.up and not self._cut(process.name, far.process.name):
            # A process that closes says why: its end is no evidence of anything.
            self._world.later(
                self.delay(),
                lambda: self._down(wire, far.process, by_peer=False, tell_other=False),
            )

    def _forget(self, wire: Wire, name: str) -> None:
        peer = wire.other(name).process.name
        if self._wires.get((name, peer)) is wire:
            del self._wires[name, peer]
        if wire in self.all and not any(end.up for end in wire.ends.values()):
            self.all.remove(wire)

    # --- time -------------------------------------------------------------------------------------

    def look(self) -> None:
        """Ends that have heard nothing for very long give up. Between pings nobody is that silent."""
        limit = self._world.now - GIVES_UP * self._world.timing.suspect
        for wire in list(self.all):
            for end in wire.ends.values():
                far = wire.other(end.process.name)
                if (
                    end.up
                    and end.process.awake
                    and far.process.awake
                    and far.up
                    and not self._cut(end.process.name, far.process.name)
                ):
                    # The connections' own pings, which are not simulated one by one.
                    end.heard = max(end.heard, self._world.now - 0.1)
                if end.up and end.process.awake and end.heard < limit:
                    self._down(wire, end.process, by_peer=False)

    def heal(self) -> None:
        """All links work again: what was held up arrives."""
        self.cuts.clear()
        for wire in list(self.all):
            for end in wire.ends.values():
                stalled, end.stalled = end.stalled, deque()
                sender = wire.other(end.process.name).process.name
                for message in stalled:
                    self._carry(wire, sender, end, message)
                far = wire.other(end.process.name)
                if end.up and not far.process.alive and sender not in self.dark:
                    # The answer to the first retransmission: RST.
                    self._world.later(self.delay(), lambda wire=wire, end=end: self._fin(wire, end))
                elif end.up and not far.up:
                    self._world.later(self.delay(), lambda wire=wire, end=end: self._gone(wire, end))
