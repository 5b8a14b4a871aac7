"""Golden transcripts of whole nodes: commands, and under each what the cluster said and did.

Files in ``tests/scenarios/nodes``; played and rewritten by ``python -m tests.simulation.scenario``.
"""

from __future__ import annotations

from random import Random

from node.core import events as ev
from node.core.settings import CoreSettings
from node.core.timing import LAN
from tests.core.fakerunner import suite
from tests.simulation.checks import Violation
from tests.simulation.whole.people import People
from tests.simulation.whole.run import check_project
from tests.simulation.whole.world import World


class Steady(Random):
    """Every draw is the middle: a transcript does not change with the number of draws before."""

    def random(self) -> float:
        return 0.5


class NodeStage:
    """A world of whole nodes that takes one command at a time."""

    def __init__(self) -> None:
        self._fresh()

    def _fresh(self) -> None:
        settings = CoreSettings(await_seconds=2 * LAN.suspect + LAN.confirm, drain_seconds=5.0)
        self.world = World(0, settings=settings, timing=LAN, trace=True)
        self.world.random = Steady()
        self.world.wires.weather.jitter = 0.002
        self.world.write_delay = 0.01
        self.people = People(self.world)

    def do(self, command: str) -> list[str]:
        """Carry out one command; what the cluster did meanwhile.

        Raises:
            ValueError: no such command.
            Violation: an expectation does not hold, or a promise is broken.
        """
        verb, *words = command.split()
        world = self.world
        began = len(world.story)
        match verb:
            case "found":
                world.add(words[0], int(words[1]) if len(words) > 1 else 0, founder=True)
            case "join":
                for name in words[1:]:
                    world.add(name, 1, seed=words[0])
            case "run":
                world.run_until(world.now + float(words[0]))
            case "run-until-ran":
                self._until_ran(int(words[0]))
            case "poison":
                self._poison(words[0], float(words[1]))
            case "submit":
                self.people.submit([suite(command.partition(" ")[2])], collection="lazy")
            case "kill" | "power-off":
                for name in words:
                    world.kill(name, quiet=verb == "power-off")
            case "start":
                for name in words:
                    process = world.start(name)
                    others = [one for one in world.processes if one != name]
                    world.seek(process, others[0] if others else name)
            case "pause":
                world.pause(words[0])
            case "resume":
                world.resume(words[0])
            case "drain":
                world.tell(world.processes[words[0]], ev.Stopping())
            case "cut":
                self._cut(words)
            case "heal":
                world.wires.heal()
            case "forge":
                world.part()
            case "meet":
                world.wires.forged = False
            case "fresh":
                self._fresh()
                return []
            case "expect":
                self._expect(words)
            case _:
                raise ValueError(f"no such command: {command}")
        return world.story[began:]

    def _until_ran(self, count: int) -> None:
        limit = self.world.now + 60.0
        while len(self.world.ran) < count:
            if self.world.now > limit:
                raise Violation(f"only {len(self.world.ran)} tests ran")
            self.world.step()

    def _poison(self, test: str, seconds: float) -> None:
        """For so long this test kills the node that runs it, which is started again a second later."""
        world = self.world
        limit = world.now + seconds
        while world.now < limit:
            world.step()
            for process in world.processes.values():
                for key, (runner, _) in list(process.runners.items()):
                    if runner.running is None or runner.running.nodeid != test:
                        continue
                    # It never ends; the master hears of its start before the node is gone.
                    runner.running, process.runners[key] = None, (runner, iter(()))
                    world.later(0.01, lambda name=process.name: world.kill(name))  # type: ignore[misc]
                    world.later(1.0, lambda name=process.name: self._back(name))  # type: ignore[misc]

    def _back(self, name: str) -> None:
        if not self.world.processes[name].alive:
            self.do(f"start {name}")

    def _cut(self, words: list[str]) -> None:
        """``cut a b | c``: both ways; ``cut a > b``: what a sends to b is held up."""
        divider = next(word for word in words if word in "|>")
        place = words.index(divider)
        for one in words[:place]:
            for other in words[place + 1 :]:
                self.world.wires.cuts.add((one, other))
                if divider == "|":
                    self.world.wires.cuts.add((other, one))

    def _expect(self, words: list[str]) -> None:
        subject, *rest = words
        world, facts = self.world, self.world.facts
        if subject == "master":
            masters = [one.name for one in world.masters if one.core.serving(world.now)]
            held = masters == [name for name in rest if name != "nobody"]
        elif subject == "over":
            held = self.people.satisfied()
            for wish in self.people.wishes if held else ():
                for project, given in enumerate(wish.suites.values()):
                    check_project(world, wish.id, project, given)
        elif subject == "once":
            # No test ran twice: the work in flight went on.
            held = len(world.ran) == len(set(world.ran))
        elif subject == "verdict":
            said = [said for place, said in facts.verdicts.items() if place[3].nodeid == rest[0]]
            held = said == rest[1:]
        elif subject == "runners":
            held = len(world.processes[rest[0]].runners) == int(rest[1])
        elif subject == "stopped":
            held = world.processes[rest[0]].stopped
        elif subject == "members":
            held = sorted(member.node for member in facts.members(len(facts.log))) == sorted(rest)
        else:
            raise ValueError(f"no such expectation: {subject}")
        if not held:
            state = "\n  ".join(one.core.describe() for one in world.processes.values() if one.alive)
            raise Violation(f"expected {' '.join(words)}; verdicts {facts.verdicts}\n  {state}")
