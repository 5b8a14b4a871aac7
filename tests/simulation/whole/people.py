"""People who submit suites and ask again, with the same request id, until somebody says yes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from proto import messages as m
from proto.messages import Options
from tests.core.fakerunner import FakeSuite
from tests.simulation.checks import Violation
from tests.simulation.whole.process import Process

if TYPE_CHECKING:
    from tests.simulation.whole.world import World

PATIENCE = 3.0
"""Seconds without an answer after which the same request is sent once more."""


@dataclass
class Wish:
    """One submission: ``id`` once it was answered; ``cancel``: it is also to be cancelled."""

    request: str
    suites: dict[str, FakeSuite]
    """Package, or name of a repository -> what is in it."""
    options: dict[str, object]
    cancel: bool = False
    id: int = 0
    ids: set[int] = field(default_factory=set)
    """Everything it was answered: more than one id only where two masters were asked."""
    tries: int = 0
    tickets: set[int] = field(default_factory=set)


class People:
    """Everybody outside of the cluster."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tickets = itertools.count(1)
        self.wishes: list[Wish] = []

    def submit(self, suites: list[FakeSuite], *, cancel: bool = False, **options: object) -> Wish:
        """Ask for these suites to be run."""
        number = len(self.wishes)
        wish = Wish(f"request {number}", {}, dict(options), cancel)
        for index, suite in enumerate(suites):
            name = f"{number:032x}{index:032x}"
            wish.suites[name] = self._world.suites[name] = suite
        self.wishes.append(wish)
        self._ask(wish)
        return wish

    def _ask(self, wish: Wish) -> None:
        """Through any node that lives; once more a while later, unless there was an answer."""
        world = self._world
        if wish.id:
            return
        wish.tries += 1
        pause = PATIENCE * (0.3 if world.random.random() < 0.2 else 1.0)
        world.later(pause, lambda: self._ask(wish))
        process = self._master_through_any()
        if process is None:
            return
        known = process.disk.facts.request(wish.request, process.disk.applied)
        if known is not None:
            self._answered(wish, known)
            return
        holders = world.shell.keeping.spread(process, set(wish.suites))
        ticket = next(self._tickets)
        event = ev.Submitted(
            ticket=ticket,
            request=wish.request,
            options=Options(**wish.options),  # type: ignore[arg-type]
            sources=tuple(
                rec.Source(name=f"project{index}", package=package, size=1000)
                for index, package in enumerate(wish.suites)
            ),
            name="",
            at=world.unix,
            holders=holders,
        )
        world.shell.asked[ticket] = lambda answer: self._take(wish, answer)
        # Storing the packages takes a while, in which much may happen.
        world.later(world.pace(), lambda: world.tell(process, event))

    def _master_through_any(self) -> Process | None:
        """A node passes a request on to the master it knows, once."""
        world = self._world
        awake = [process for process in world.processes.values() if process.awake]
        if not awake:
            return None
        asked = world.random.choice(awake)
        if asked.core.serving(world.now):
            return asked
        master = world.processes.get(asked.core.master)
        connected = master is not None and world.wires.of(asked.name, master.name) is not None
        if master is None or not connected or not master.awake or not master.core.serving(world.now):
            return None
        return master

    def _take(self, wish: Wish, answer: fx.Answer) -> None:
        if answer.status == 202 and isinstance(answer.body, dict):
            self._answered(wish, answer.body["id"])
        elif answer.status not in (429, 503):
            raise Violation(f"{wish.request} is answered {answer}")

    def _answered(self, wish: Wish, number: int) -> None:
        wish.ids.add(number)
        if len(wish.ids) > 1 and not self._world.facts.parted:
            raise Violation(f"{wish.request} is answered {sorted(wish.ids)}")
        if not wish.id:
            wish.id = number
            self._world.say(f"{wish.request} is evaluation {number}")
            if wish.cancel:
                self._cancel(wish)

    def _cancel(self, wish: Wish) -> None:
        """Until it is over."""
        world = self._world
        if wish.id in world.facts.ended:
            return
        process = self._master_through_any()
        if process is not None:
            query = m.CancelEvaluation(evaluation=wish.id)
            event = ev.Asked(ticket=next(self._tickets), query=query, at=world.unix)
            world.shell.asked[event.ticket] = lambda answer: self._cancelled(wish, answer)
            world.later(world.pace(), lambda: world.tell(process, event))
        world.later(PATIENCE, lambda: self._cancel(wish))

    def _cancelled(self, wish: Wish, answer: fx.Answer) -> None:
        if self._world.facts.parted:
            return
        if answer.status == 200 and wish.id not in self._world.facts.ended:
            raise Violation(f"{wish.id} is said to be cancelled, but it is not over: {answer}")

    def satisfied(self) -> bool:
        """Whether everybody has an id, and everything is over."""
        ended = self._world.facts.ended.keys()
        return all(wish.ids and wish.ids <= ended for wish in self.wishes)
