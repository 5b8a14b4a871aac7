"""A cluster in memory for tests of one behaviour: a master ``m``, which alone holds the log, and workers.

Everything else is the world of ``tests/simulation/whole``: real cores, fake runners, virtual time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.settings import CoreSettings
from proto import messages as m
from proto.messages import Options
from tests.core.fakerunner import FakeSuite
from tests.simulation.whole.facts import Facts
from tests.simulation.whole.process import Process
from tests.simulation.whole.world import World

LONGEST = 1000.0
"""Virtual seconds after which a run that goes on is called stuck."""


class Stuck(AssertionError):
    """Nothing ever ends."""


class MiniCluster(World):
    """One master ``m`` and any number of workers.

    Args:
        seed: of every delay; the same seed gives the same run.
        slots: of the master.
        replicas: 0 for a master that alone holds the log.
    """

    def __init__(self, seed: int = 0, slots: int = 0, replicas: int = 0) -> None:
        super().__init__(seed, settings=CoreSettings(replicas=replicas))
        self.shell.keep_messages = True
        self.alone = 0
        self._tickets = itertools.count(1)
        self._submitted: dict[int, Process] = {}
        self.add("m", slots, founder=True)
        self.run(lambda: self.lives["m"].core.is_master, 5.0)

    @property
    def lives(self) -> dict[str, Process]:
        """Name -> its newest process."""
        return self.processes

    @property
    def log(self) -> Facts:
        """What is committed."""
        return self.facts

    @property
    def answers(self) -> dict[int, fx.Answer]:
        """Ticket -> answer."""
        return self.shell.answers

    @property
    def messages(self) -> list[tuple[str, str, m.AnyMessage]]:
        """(sender, receiver, message), in the order in which they were sent."""
        return self.shell.messages

    # --- nodes --------------------------------------------------------------------------------

    def worker(self, name: str, slots: int = 1) -> None:
        """A worker starts and connects."""
        self.add(name, slots)
        self.connect(name)

    def connect(self, name: str) -> None:
        """A worker finds the master, unless it has."""
        process = self.lives[name]
        if process.alive and self.lives["m"].alive and self.wires.of(name, "m") is None:
            self.wires.dial(process, "m")

    def cut(self, name: str) -> None:
        """The connection to the master breaks; messages in flight are lost."""
        wire = self.wires.of(name, "m")
        if wire is not None:
            self.wires.reset(wire)

    def restart_master(self) -> None:
        """The master comes back from its disk."""
        self.start("m")

    def tell_node(self, name: str, event: ev.AnyEvent) -> None:
        """Give a node's newest process an event."""
        self.tell(self.lives[name], event)

    # --- people -------------------------------------------------------------------------------

    def submit(self, *suites: FakeSuite | str, request: str = "", **options: object) -> int:
        """Submit packages, or URLs that ``urls`` knows; the ticket."""
        sources = []
        for index, given in enumerate(suites):
            if isinstance(given, str):
                sources.append(rec.Source(name=given, url=f"https://git.example/{given}"))
                continue
            package = f"{len(self.suites):064x}"
            self.suites[package] = given
            sources.append(rec.Source(name=f"project{index}", package=package, size=1000))
        ticket = next(self._tickets)
        event = ev.Submitted(
            ticket=ticket, request=request or f"request {ticket}", options=Options(**options),  # type: ignore[arg-type]
            sources=tuple(sources), name="", at=self.unix,
        )  # fmt: skip
        self._submitted[ticket] = self.lives["m"]
        self.tell_node("m", event)
        return ticket

    def ask(self, query: m.Query) -> int:
        """Ask the master; the ticket."""
        ticket = next(self._tickets)
        self.tell_node("m", ev.Asked(ticket=ticket, query=query, at=self.unix))
        return ticket

    # --- time ---------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool] | None = None, seconds: float = LONGEST) -> None:
        """Go on until ``until`` holds (default: every evaluation that was answered has ended)."""
        done = until or self.all_ended
        limit = self.now + seconds
        while not done():
            if self.now > limit:
                raise Stuck(f"not done after {seconds} virtual seconds\n{self.tales()}")
            self.step()

    def all_ended(self) -> bool:
        """Whether everything that was submitted is over; what a dead master took in was not."""
        open_ = [t for t, process in self._submitted.items() if process.alive and t not in self.answers]
        return not open_ and self.facts.all_ended()

    def tales(self) -> str:
        """What the master did about the first evaluations that are not over."""
        unfinished = [number for number in range(1, 6) if number not in self.facts.ended]
        return "\n".join(self.lives["m"].core.story(number) for number in unfinished)

    def run_for(self, seconds: float) -> None:
        """Let so much virtual time go by."""
        self.run_until(self.now + seconds)

    def settle(self, seconds: float = 5.0) -> None:
        """Let what is on its way arrive."""
        self.run_for(seconds)
