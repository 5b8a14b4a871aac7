"""The agent that breaks a world of whole nodes, and knows what must be left whole."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from node.core import events as ev
from node.core.journal import Journal
from tests.simulation.whole.process import Process

if TYPE_CHECKING:
    from tests.simulation.whole.world import World


@dataclass(frozen=True)
class Theme:
    """A kind of run. ``rate`` is faults per second; the weights are relative."""

    name: str
    nodes: tuple[int, ...]
    rate: float
    weights: tuple[tuple[str, float], ...]


MIXED = (
    ("kill", 20), ("power", 4), ("start", 24), ("pause", 8), ("resume", 12), ("cut", 8), ("heal", 10),
    ("reset", 8), ("join", 4), ("drain", 4), ("lose_disk", 3),
)  # fmt: skip
PAIR = (
    ("kill", 10), ("power", 3), ("start", 26), ("pause", 8), ("resume", 14), ("cut", 12), ("heal", 14),
    ("reset", 6),
)  # fmt: skip
DRAINS = (("drain", 10), ("join", 10), ("kill", 8), ("start", 16), ("reset", 4))
FORGED = (
    ("forge", 10), ("meet", 14), ("kill", 5), ("start", 20), ("pause", 2), ("resume", 12), ("reset", 4),
)  # fmt: skip
THEMES = (
    Theme("mixed", (2, 3, 3, 4), 0.8, MIXED),
    Theme("pair", (1,), 0.6, PAIR),
    Theme("drains", (2, 3, 4), 0.6, DRAINS),
    Theme("forged closes", (1,), 0.6, FORGED),
)


class Agent:
    """Strikes at random moments until ``leave_off``."""

    def __init__(self, world: World, random: Random, theme: Theme) -> None:
        self.world = world
        self.random = random
        self.theme = theme
        self.active = True
        self.lost: set[str] = set()
        """Nodes whose disk is gone for ever."""
        self.left: set[str] = set()
        """Nodes that were told to leave."""
        self._kinds = [kind for kind, _ in theme.weights]
        self._weights = [weight for _, weight in theme.weights]
        self._names = [f"n{number}" for number in range(12, 1, -1)]

    def join(self) -> None:
        """A new node, which knows one of the others."""
        if self._names:
            seeds = [name for name, process in self.world.processes.items() if process.alive] or ["n1"]
            self.world.add(self._names.pop(), self.random.choice((1, 1, 2)), seed=self.random.choice(seeds))

    def strike(self) -> None:
        """One fault or one repair, then the next one later."""
        if not self.active:
            return
        world, random = self.world, self.random
        awake = [process for process in world.processes.values() if process.awake]
        match random.choices(self._kinds, self._weights)[0]:
            case "kill" if awake:
                world.kill(self._pick(awake).name)
            case "power" if awake:
                world.kill(self._pick(awake).name, quiet=True)
            case "start":
                self._start()
            case "pause" if awake:
                world.pause(self._pick(awake).name)
            case "resume":
                self._resume()
            case "cut":
                self._cut()
            case "heal":
                world.say("the network heals")
                world.wires.heal()
            case "reset" if world.wires.all:
                wire = random.choice(world.wires.all)
                world.say(f"{' and '.join(wire.ends)} lose their connection")
                world.wires.reset(wire)
            case "join":
                self.join()
            case "drain" if len(awake) > 1:
                self._drain(self._pick(awake))
            case "forge" if len(world.disks) == 2 and not world.wires.forged:
                world.part()
            case "meet":
                self._meet()
            case "lose_disk" if awake:
                self._lose_disk(random.choice(awake))
        world.later(random.expovariate(self.theme.rate), self.strike)

    def _meet(self) -> None:
        """The middlebox lets connections pass again."""
        if self.world.wires.forged:
            self.world.say("connections pass again")
            self.world.wires.forged = False

    def _pick(self, awake: list[Process]) -> Process:
        """Masters are the more interesting victims."""
        masters = [process for process in awake if process.core.is_master]
        return self.random.choice(masters if masters and self.random.random() < 0.4 else awake)

    def _startable(self) -> list[str]:
        return [
            name
            for name, process in self.world.processes.items()
            if not process.alive and name not in self.lost and not process.stopped
        ]

    def _start(self) -> None:
        down = self._startable()
        if down:
            self._bring_back(self.random.choice(down))

    def _bring_back(self, name: str) -> None:
        process = self.world.start(name)
        others = [one for one, life in self.world.processes.items() if life.alive and one != name]
        if others:
            self.world.seek(process, self.random.choice(others))

    def _resume(self) -> None:
        paused = [name for name, process in self.world.processes.items() if process.alive and process.paused]
        if paused:
            self.world.resume(self.random.choice(paused))

    def _cut(self) -> None:
        """Cut the nodes in two, in both directions or in one."""
        world, random = self.world, self.random
        side = {name for name in world.disks if random.random() < 0.5}
        both = random.random() < 0.6
        world.say(f"cut: {' '.join(sorted(side)) or 'nobody'} {'|' if both else '-x->'} the others")
        for one in world.disks:
            for other in world.disks:
                if one in side and other not in side:
                    world.wires.cuts.add((one, other))
                    if both:
                        world.wires.cuts.add((other, one))

    def _drain(self, process: Process) -> None:
        """SIGTERM. The last ones stay: somebody must do the work."""
        staying = [name for name in self.world.disks if name not in self.lost | self.left]
        if process.name in self.left or len(staying) <= 2:
            return
        self.left.add(process.name)
        self.world.say(f"{process.name} is told to leave")
        self.world.tell(process, ev.Stopping())

    def _lose_disk(self, process: Process) -> None:
        """A node dies with its disk, where a majority of every set in force keeps theirs."""
        lost = self.lost | {process.name}
        for voters in self._sets_in_force():
            if process.name in voters and len([v for v in voters if v not in lost]) * 2 <= len(voters):
                return
        self.lost.add(process.name)
        self.world.say(f"{process.name} loses its disk")
        self.world.kill(process.name)
        self.join()

    def beyond_repair(self) -> bool:
        """Whether some set that must agree has lost the majority of its disks."""
        return any(
            len([voter for voter in voters if voter not in self.lost]) * 2 <= len(voters)
            for voters in self._sets_in_force()
        )

    def _sets_in_force(self) -> set[tuple[str, ...]]:
        """As the disks have them, and the logs of those that live."""
        sets: set[tuple[str, ...]] = set()
        for name, disk in self.world.disks.items():
            if name in self.lost:
                continue
            journal = Journal(disk.saved())
            sets.update(journal.log.required(journal.commit))
            process = self.world.processes[name]
            if process.alive:
                sets.update(process.core.required_voters())
        return sets

    def leave_off(self) -> None:
        """No more faults: everything that can run does."""
        self.active = False
        world = self.world
        world.say("the faults stop")
        world.wires.weather.late = 0.0
        self._meet()
        for name, process in list(world.processes.items()):
            if process.alive and process.paused:
                world.resume(name)
        self.restart()
        world.wires.heal()

    def restart(self) -> None:
        """Whoever can run does: one that left while it alone held the log may be needed again."""
        for name in self._startable():
            self._bring_back(name)
