"""One seeded run of whole nodes: people submit, an agent breaks things, stops, and all must end well."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from node.core.settings import CoreSettings
from node.core.timing import Timing
from proto.messages import TestId
from tests.core.fakerunner import BEHAVIOURS, FakeModule, FakeSuite, FakeTest
from tests.simulation.checks import Violation
from tests.simulation.whole.agent import THEMES, Agent
from tests.simulation.whole.people import People
from tests.simulation.whole.world import START, World

TIMING = Timing(ping=0.5, suspect=1.6, lease=2.4, stagger=0.25, confirm=0.4, redial=0.2)
FAULTS_END = 12.0
SETTLE = 400.0
"""Virtual seconds within which everything is over once the faults stop."""
PLAIN = ("pass", "pass", "pass", "pass", "fail", "skip")


@dataclass(frozen=True)
class Outcome:
    """What a run did, for the totals."""

    verdicts: int
    handled: int
    settled: float
    """Virtual seconds from the last fault to the end of the last evaluation."""
    beyond_repair: bool = False


def random_suite(chance: Random) -> FakeSuite:
    """A small suite; some misbehave."""
    modules = []
    for number in range(chance.choice((1, 2, 3, 5))):
        name = f"test_{number}.py"
        does = BEHAVIOURS if chance.random() < 0.2 else PLAIN
        does = tuple(one for one in does if one != "strange")
        tests = tuple(
            FakeTest(TestId(f"{name}::test_{index}"), chance.choice(does), chance.choice(("", "", "", "one")))
            for index in range(chance.choice((1, 2, 3, 8)))
        )
        modules.append(
            FakeModule(name, tests, chance.choice(("",) * 8 + ("error", "die", "die once", "imports")))
        )
    return FakeSuite(tuple(modules), chance.choice(("",) * 20 + ("unbuildable",)))


def simulate(seed: int, *, trace: bool = False) -> tuple[World, Outcome]:
    """Run one seed to its end.

    Raises:
        Violation: a promise was broken; ``story`` of a traced run tells how.
    """
    world = make(seed, trace=trace)
    return world, play(world)


def make(seed: int, *, trace: bool = False) -> World:
    """The world of a seed, before anything happened in it."""
    chance = Random(seed)
    settings = CoreSettings(
        await_seconds=2 * TIMING.suspect + TIMING.confirm,
        drain_seconds=5.0,
        replicas=chance.choice((1, 1, 1, 2)),
    )
    return World(seed, settings=settings, timing=TIMING, trace=trace, validate_every=97)


def play(world: World) -> Outcome:
    random = Random(world.random.random())
    world.wires.weather.jitter = random.choice((0.002, 0.02, 0.1))
    world.wires.weather.late = random.choice((0.0, 0.02))
    world.write_delay = random.choice((0.01, 0.05, 0.3))
    world.shell.tail = random.choice((5, 30, 300))
    world.batch = random.choice((1, 1, 3))
    theme = random.choice(THEMES)
    world.say(f"theme: {theme.name}")
    agent, people = Agent(world, random, theme), People(world)
    world.add("n1", random.choice((0, 1)), founder=True)
    for _ in range(random.choice(theme.nodes)):
        world.later(random.random() * 2, agent.join)
    for _ in range(random.choice((1, 2))):
        suites = [random_suite(random) for _ in range(random.choice((1, 1, 2)))]
        cancel = random.random() < 0.15
        world.later(random.random() * 6, lambda s=suites, c=cancel: people.submit(s, cancel=c))  # type: ignore[misc]
    world.later(1.0 + random.random() * 3, agent.strike)
    world.run_until(START + FAULTS_END)
    agent.leave_off()
    began = world.now
    beyond = agent.beyond_repair()
    if not beyond:
        settle(world, people, agent)
        check_end(world, people)
    return Outcome(len(world.facts.verdicts), world.handled, world.now - began, beyond)


def settle(world: World, people: People, agent: Agent) -> None:
    """Go on until everything is over and nothing runs any more.

    Raises:
        Violation: that does not happen.
    """
    limit = world.now + SETTLE
    while not (people.wishes and people.satisfied() and quiet(world)):
        if world.now > limit:
            raise Violation(f"not over {SETTLE:.0f} s after the last fault\n{state(world, people)}")
        world.run_until(world.now + 0.25)
        agent.restart()


def quiet(world: World) -> bool:
    """One master serves, and no runner is left."""
    masters = [process for process in world.masters if process.core.serving(world.now)]
    busy = any(one.runners or one.disk.asides.offers for one in world.processes.values() if one.alive)
    return len(masters) == 1 and not busy


def state(world: World, people: People) -> str:
    """For people: who is what, what is open."""
    lines = [f"  {process.core.describe()}" for process in world.processes.values() if process.alive]
    for wish in people.wishes:
        if wish.id not in world.facts.ended:
            lines.append(f"  {wish.request}: id {wish.id or 'none'}")
            lines += [
                "    " + line for one in world.masters for line in one.core.story(wish.id).splitlines()[-12:]
            ]
    return "\n".join(lines)


def check_end(world: World, people: People) -> None:
    """Every verdict is the known one."""
    for process in world.processes.values():
        if process.alive:
            process.core.validate()
    for wish in people.wishes:
        for number in sorted(wish.ids):
            if wish.cancel and world.facts.ended[number].state == "cancelled":
                continue
            for project, suite in enumerate(wish.suites.values()):
                check_project(world, number, project, suite)
    waiting = [one.name for one in world.processes.values() if one.disk.asides.offers]
    if waiting:
        raise Violation(f"{waiting} still keep a history aside")


def check_project(world: World, number: int, project: int, suite: FakeSuite) -> None:
    """The verdicts are those of serial pytest, or say why they are not."""
    facts = world.facts
    outcomes = facts.outcomes(number, project)
    if suite.start:
        if list(outcomes.values()) != ["error"]:
            raise Violation(f"{number}/{project} should be one error, not {outcomes}")
        return
    expected = suite.expected()
    if outcomes.keys() != expected.keys():
        ended = facts.projects.get((number, project))
        if ended is not None and not ended.audited and ended.notes:
            return
        odd = outcomes.keys() ^ expected.keys()
        raise Violation(f"{number}/{project} has verdicts of other tests: {sorted(odd)[:5]}")
    for key, said in expected.items():
        place = (number, project, *key)
        if outcomes[key] == said or place in facts.unconfirmed:
            continue
        if outcomes[key] == "lost" and facts.losses.get(place, 0) >= world.settings.losses_most:
            continue
        raise Violation(f"{key[1]} of {number}/{project} is {outcomes[key]}, not {said}")
