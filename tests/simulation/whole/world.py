"""A whole cluster in virtual time: real ``ClusterState`` machines, simulated disks, wires and runners.

One event at a time; everything random comes from one seeded generator, so a seed replays exactly.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

from node.core import events as ev
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.core.timing import Timing
from node.core.voting_events import found
from proto.messages import AssignmentId, TestId
from tests.core.fakerunner import FakeSuite
from tests.simulation.checks import Violation
from tests.simulation.whole.facts import Facts
from tests.simulation.whole.process import NodeDisk, Process
from tests.simulation.whole.shell import Shell
from tests.simulation.whole.wires import Wires

UNIX = 1_000_000_000.0
"""Unix time at virtual second 0."""
START = 100.0
"""The virtual second at which every world begins."""
LOOK = 1.0
"""Between two looks of the connections at how long they heard nothing."""
MOST_EVENTS = 400_000
"""Far more than any run needs."""


class World:
    """``at`` and ``later`` schedule, ``step`` does what is next, ``tell`` is every node's inbox.

    Args:
        seed: of every delay and fault.
        validate_every: a core checks itself after so many events.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        settings: CoreSettings | None = None,
        timing: Timing | None = None,
        trace: bool = False,
        validate_every: int = 1,
    ) -> None:
        self.now = START
        self.random = random.Random(seed)
        self.settings = settings or CoreSettings()
        self.timing = timing or Timing()
        self._facts = Facts()
        self.wires = Wires(self)
        self.disks: dict[str, NodeDisk] = {}
        self.processes: dict[str, Process] = {}
        self.slots: dict[str, int] = {}
        self.suites: dict[str, FakeSuite] = {}
        """Package -> what is in it."""
        self.urls: dict[str, FakeSuite | None] = {}
        self.once: set[object] = set()
        self.first: dict[object, AssignmentId] = {}
        self.ran: list[tuple[str, TestId]] = []
        self.batch = 1
        """Verdicts in one message of a runner."""
        self.alone = 1
        """Slots of a master without other members."""
        self.write_delay = 0.05
        self.story: list[str] = []
        self.handled = 0
        self._trace = trace
        self._validate_every = validate_every
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.shell = Shell(self)
        self.later(LOOK, self._look)

    @property
    def facts(self) -> Facts:
        """The cluster's history; while there are two, that of the higher epoch."""
        if not self._facts.parted:
            return self._facts
        return max(self.processes.values(), key=lambda one: (one.core.epoch, one.name)).disk.facts

    def part(self) -> None:
        """Somebody forges the death of each of two nodes to the other: each may have a history of its own."""
        self.say("a forged close")
        disks = list(self.disks.values())
        if disks[0].facts is disks[1].facts:
            for disk in disks:
                disk.facts = disk.facts.first(disk.applied)
            self._facts = disks[0].facts
        self.wires.forge()

    # --- time -------------------------------------------------------------------------------------

    @property
    def unix(self) -> float:
        """Unix time."""
        return UNIX + self.now - START

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do something at this virtual second."""
        heapq.heappush(self._agenda, (when, next(self._order), do))

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after so many seconds."""
        self.at(self.now + seconds, do)

    def step(self) -> None:
        """The next thing that happens."""
        self.now, _, do = heapq.heappop(self._agenda)
        do()

    def run_until(self, when: float) -> None:
        """Let everything happen that happens before this second."""
        while self._agenda and self._agenda[0][0] <= when:
            self.step()
        self.now = max(self.now, when)

    def pace(self) -> float:
        """A random short while."""
        return self.random.uniform(0.001, 0.2)

    def say(self, line: str) -> None:
        """One line of the story."""
        if self._trace:
            self.story.append(f"{self.now - START:8.3f} {line}")

    def _look(self) -> None:
        self.wires.look()
        if self._facts.parted:
            self._reunite()
        self.later(LOOK, self._look)

    def _reunite(self) -> None:
        """A master looks for whom it once knew, as the shell does."""
        for process in self.masters:
            for name in self.processes:
                if name != process.name and process.awake and self.wires.of(process.name, name) is None:
                    self.wires.dial(process, name)

    # --- nodes ------------------------------------------------------------------------------------

    def add(self, name: str, slots: int = 1, *, founder: bool = False, seed: str = "") -> Process:
        """A new node, which founds the cluster or knows ``seed``."""
        disk = self.disks[name] = NodeDisk(facts=self._facts)
        self.slots[name] = slots
        if founder:
            disk.found(found(name))
            self.shell.apply(name, disk, disk.commit)
        process = self.start(name)
        if seed:
            self.seek(process, seed)
        return process

    def seek(self, process: Process, seed: str) -> None:
        """What the shell does while it knows no master: dial the seeds, and where they point to."""
        if not process.alive:
            return
        if process.awake and seed != process.name and not process.core.master:
            self.wires.dial(process, seed)
        hints = [name for name, one in self.processes.items() if one.alive and name != process.name]
        following = self.random.choice(hints) if hints else seed
        self.later(1.0 + self.pace(), lambda: self.seek(process, following))

    def start(self, name: str) -> Process:
        """A process on this node's disk."""
        disk = self.disks[name]
        disk.incarnation += 1
        self.wires.dark.discard(name)
        core = ClusterState(
            self.settings,
            node=name,
            address=f"{name}:7000",
            incarnation=disk.incarnation,
            slots=self.slots[name],
            alone=self.alone,
            saved=disk.saved(),
            members=disk.facts.members(disk.applied),
            timing=self.timing,
            now=self.now,
        )
        self.say(f"{name} starts: log to #{disk.last}")
        process = self.processes[name] = Process(name, disk.incarnation, disk, core)
        self.shell.offer(process)
        self._schedule_tick(process)
        return process

    def kill(self, name: str, *, quiet: bool = False) -> None:
        """The process is gone with its runners; ``quiet``: the whole machine, so that nobody hears of it."""
        process = self.processes[name]
        if not process.alive:
            return
        self.say(f"{name} {'loses its power' if quiet else 'is killed'}")
        process.core.validate()
        process.alive = False
        process.runners.clear()
        process.inbox.clear()
        if quiet:
            self.wires.dark.add(name)
        self.wires.died(process)

    def pause(self, name: str) -> None:
        """SIGSTOP: its runners go on, their words wait."""
        self.say(f"{name} is paused")
        self.processes[name].paused = True

    def resume(self, name: str) -> None:
        """SIGCONT."""
        process = self.processes[name]
        if not process.paused:
            return
        self.say(f"{name} goes on")
        process.paused = False
        inbox, process.inbox = process.inbox, []
        for event in inbox:
            self.tell(process, event)
        self.shell.write(process)
        self._schedule_tick(process)

    @property
    def masters(self) -> list[Process]:
        """Live processes that act as master."""
        return [one for one in self.processes.values() if one.alive and one.core.is_master]

    # --- events -----------------------------------------------------------------------------------

    def tell(self, process: Process, event: ev.AnyEvent) -> None:
        """Give a process an event and carry out what it wants."""
        if not process.alive:
            return
        if process.paused:
            process.inbox.append(event)
            return
        self.handled += 1
        if self.handled > MOST_EVENTS:
            raise Violation(f"the cluster talks without end: {MOST_EVENTS} events")
        for effect in process.core.handle(event, self.now):
            self.shell.carry_out(process, effect)
        if self.handled % self._validate_every == 0:
            process.core.validate()
        self._told(process)
        deadline = process.core.next_deadline()
        if deadline is not None and deadline < process.tick_at:
            self._schedule_tick(process)

    def _told(self, process: Process) -> None:
        if process.core.is_master != process.reigns:
            process.reigns = process.core.is_master

    def _schedule_tick(self, process: Process) -> None:
        deadline = process.core.next_deadline()
        when = self.now + 1.0 if deadline is None else min(self.now + 1.0, max(deadline, self.now))
        process.tick_at = when
        self.at(when, lambda: self._tick(process, when))

    def _tick(self, process: Process, when: float) -> None:
        if process.awake and process.tick_at == when:
            process.tick_at = self.now + 1.0
            self.tell(process, ev.Tick(at=self.unix))
            self._schedule_tick(process)
