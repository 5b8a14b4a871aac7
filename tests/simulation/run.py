"""One seeded run: grow a cluster, let an agent break things, stop, and see that all ends well."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from node.core.timing import Timing
from tests.simulation.agent import THEMES, Agent
from tests.simulation.checks import Violation
from tests.simulation.world import World

TIMING = Timing(ping=0.5, suspect=1.6, lease=2.4, stagger=0.25, confirm=0.4, redial=0.2)
FAULTS_END = 14.0
SETTLE = 60.0
MOST_EPOCHS = 40
"""More than any 14 s of faults explain: somebody stands for election again and again."""


@dataclass(frozen=True)
class Outcome:
    """What a run did, for the totals."""

    acknowledged: int
    reigns: int
    handled: int
    settled: float
    """Virtual seconds from the last fault to agreement."""
    beyond_repair: bool = False
    """Disks were lost before the voters could be changed: safety was checked, progress not."""


def simulate(seed: int, *, trace: bool = False) -> tuple[World, Outcome]:
    """Run one seed to its end.

    Raises:
        Violation: a promise was broken; ``story`` of a traced run tells how.
    """
    world = World(seed, TIMING, trace=trace)
    return world, play(world)


def play(world: World) -> Outcome:
    random = Random(world.random.random())
    weather = world.network.weather
    weather.jitter = random.choice([0.0, 0.01, 0.2])
    weather.late = random.choice([0.0, 0.05])
    weather.drop = random.choice([0.0, 0.0, 0.03, 0.1])
    weather.duplicate = random.choice([0.0, 0.05])
    theme = THEMES[world.random.randrange(len(THEMES))]
    world.say(f"theme: {theme.name}")
    weather.write_jitter = random.choice(theme.writes)
    world.replicas = random.choice([1, 1, 1, 2])
    agent = Agent(world, random, theme)
    world.add("n1", founder=True)
    start = world.now
    for _ in range(random.choice(theme.nodes)):
        world.at(start + random.random() * 3, agent.join)
    world.at(start + 0.2, agent.work)
    world.at(start + 0.3, agent.rosters)
    world.at(start + 1.0 + random.random() * 3, agent.strike)
    world.run(start + FAULTS_END)
    agent.leave_off()
    world.run(world.now + 5.0)
    beyond = agent.beyond_repair()
    settled = settle(world, must=not beyond)
    check_end(world)
    ledger = world.ledger
    return Outcome(len(ledger.acknowledged), len(ledger.reigns), world.handled, settled, settled > SETTLE)


def settle(world: World, *, must: bool = True) -> float:
    """Wait until one master has committed a fresh record and every voter agrees.

    Raises:
        Violation: that does not happen within a minute of virtual time.
    """
    began, tries = world.now, 0
    while world.now < began + SETTLE:
        world.run(world.now + 0.5)
        tries += 1
        probe = b"end%d" % tries
        world.append(probe)
        if agreement(world):
            return world.now - began + 5.0
    if not must:
        return SETTLE + 5.0
    stories = "\n  ".join(n.replica.story() for n in world.nodes.values() if n.replica is not None)
    raise Violation(f"no agreement {SETTLE:.0f} s after the last fault:\n  {stories}")


def agreement(world: World) -> bool:
    acting = [n for n in world.nodes.values() if n.replica is not None and n.replica.serving(world.now)]
    if len(acting) != 1 or not any(p.startswith(b"end") for p in world.ledger.acknowledged):
        return False
    master = acting[0].replica
    assert master is not None
    for name in master.voters:
        replica = world.nodes[name].replica
        if replica is None or replica.epoch != master.epoch or replica.commit < master.commit - 5:
            return False
    return True


def check_end(world: World) -> None:
    for node in world.nodes.values():
        if node.replica is not None:
            node.replica.validate()
            if node.replica.journal.counter > MOST_EPOCHS:
                raise Violation(f"an election storm: {node.replica.story()}")
            journal = node.replica.journal
            world.ledger.check_disk(node.name, node.disk, min(node.replica.commit, journal.durable))
    master = next((n for n in world.nodes.values() if n.replica is not None and n.replica.acting), None)
    if master is not None:
        world.ledger.check_kept(master.disk)
