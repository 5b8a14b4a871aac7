"""The agent that breaks the world: what it does, how often, and what it must leave whole."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from node.core.journal import Journal
from node.core.voting_log import VoterSet
from tests.simulation.node import Node
from tests.simulation.world import World


@dataclass(frozen=True)
class Theme:
    """A kind of run. The weights are relative; ``rate`` is faults per second."""

    name: str
    nodes: tuple[int, ...] = (0, 1, 2, 2, 3, 4)
    """How many nodes join the founder (one is chosen)."""
    rate: float = 1.6
    work: float = 3.0
    back_at_once: float = 0.4
    """Share of the killed that a service manager restarts within a second."""
    writes: tuple[float, ...] = (0.0, 0.02, 0.3)
    weights: tuple[tuple[str, float], ...] = (
        ("kill", 22),
        ("power", 6),
        ("start", 22),
        ("pause", 10),
        ("resume", 12),
        ("cut", 12),
        ("heal", 5),
        ("kill_and_heal", 2),
        ("join", 3),
        ("leave", 2),
        ("lose_disk", 4),
    )


PAIR = (
    ("kill", 10),
    ("power", 4),
    ("start", 25),
    ("pause", 10),
    ("resume", 14),
    ("cut", 22),
    ("heal", 6),
    ("kill_and_heal", 9),
)
CHURN = (("kill", 60), ("start", 20), ("cut", 6), ("heal", 6), ("pause", 4), ("resume", 4))
THEMES = (
    Theme("mixed"),
    Theme("pair", nodes=(1,), rate=1.0, weights=PAIR),
    Theme("churn", nodes=(2, 2, 4), rate=4.0, back_at_once=0.9, writes=(0.02, 0.3, 1.2), weights=CHURN),
)


class Agent:
    """Breaks the world at random moments, and knows what must not be broken."""

    def __init__(self, world: World, random: Random, theme: Theme) -> None:
        self.world = world
        self.random = random
        self.theme = theme
        self._kinds = [kind for kind, _ in theme.weights]
        self._weights = [weight for _, weight in theme.weights]
        self.lost: set[str] = set()
        """Nodes whose disk is gone for ever."""
        self.spare_names = [f"n{i}" for i in range(9, 1, -1)]
        self.active = True
        self.payload = 0

    def join(self) -> None:
        if self.spare_names:
            self.world.add(self.spare_names.pop())

    def strike(self) -> None:
        """One fault or one repair, then the next one later."""
        if not self.active:
            return
        world, random = self.world, self.random
        up = [node for node in world.nodes.values() if node.up and not node.paused]
        down = [node for node in world.nodes.values() if not node.up and node.name not in self.lost]
        paused = [node for node in world.nodes.values() if node.paused]
        match random.choices(self._kinds, self._weights)[0]:
            case "kill" if up:
                self.kill(self.pick(up))
            case "power" if up:
                world.crash(self.pick(up), quiet=True)
            case "start" if down:
                world.start(random.choice(down))
            case "pause" if up:
                world.pause(self.pick(up))
            case "resume" if paused:
                world.resume(random.choice(paused))
            case "cut":
                self.partition()
            case "heal":
                world.heal()
            case "kill_and_heal" if up:
                world.crash(self.pick(up))
                world.heal()
            case "join":
                self.join()
            case "leave" if up:
                world.leave(self.pick(up))
            case "lose_disk" if up:
                self.lose_disk(random.choice(up))
        world.at(world.now + random.expovariate(self.theme.rate), self.strike)

    def kill(self, node: Node) -> None:
        """Kill; some are back at once, as a service manager would see to."""
        self.world.crash(node)
        if self.random.random() < self.theme.back_at_once:
            self.world.at(self.world.now + self.random.random() * 0.8, self.restart, node)

    def restart(self, node: Node) -> None:
        if not node.up and node.name not in self.lost:
            self.world.start(node)

    def pick(self, up: list[Node]) -> Node:
        """Masters are the more interesting victims."""
        masters = [node for node in up if node.replica is not None and node.replica.acting]
        return self.random.choice(masters if masters and self.random.random() < 0.5 else up)

    def partition(self) -> None:
        """Cut the nodes in two, in both directions or in one."""
        world, random = self.world, self.random
        side = {name for name in world.nodes if random.random() < 0.5}
        both = random.random() < 0.6
        world.say(f"cut: {' '.join(sorted(side)) or 'nobody'} {'|' if both else '-x->'} the others")
        for one in world.nodes:
            for other in world.nodes:
                if one in side and other not in side:
                    world.network.cuts.add((one, other))
                    if both:
                        world.network.cuts.add((other, one))

    def lose_disk(self, node: Node) -> None:
        """A node dies with its disk, where a majority of every set in force keeps theirs."""
        lost = self.lost | {node.name}
        for voters in self.sets_in_force():
            if node.name in voters and len([v for v in voters if v not in lost]) * 2 <= len(voters):
                return
        self.lost.add(node.name)
        self.world.say(f"{node.name} loses its disk")
        self.world.crash(node)
        self.join()

    def beyond_repair(self) -> bool:
        """Whether some set that must agree has lost the majority of its disks."""
        return any(
            len([voter for voter in voters if voter not in self.lost]) * 2 <= len(voters)
            for voters in self.sets_in_force()
        )

    def sets_in_force(self) -> set[VoterSet]:
        sets: set[VoterSet] = set()
        for node in self.world.nodes.values():
            if node.name in self.lost:
                continue
            for journal in (
                node.replica.journal if node.replica is not None else None,
                Journal(node.disk.saved()),
            ):
                if journal is not None:
                    sets.update(journal.log.required(journal.commit))
        return sets

    def work(self) -> None:
        """A client with something to record."""
        if not self.active:
            return
        self.payload += 1
        self.world.append(b"r%d" % self.payload)
        if self.random.random() < 0.05:
            self.world.compact(self.random.choice(list(self.world.nodes.values())))
        self.world.at(self.world.now + self.random.expovariate(self.theme.work), self.work)

    def rosters(self) -> None:
        self.world.tell_roster()
        self.world.at(self.world.now + 0.7, self.rosters)

    def leave_off(self) -> None:
        """No more faults: everything that can run does."""
        self.active = False
        world = self.world
        world.say("the faults stop")
        world.network.weather.drop = world.network.weather.duplicate = 0.0
        for node in world.nodes.values():
            if node.paused:
                world.resume(node)
            elif not node.up and node.name not in self.lost:
                world.start(node)
        world.heal()
