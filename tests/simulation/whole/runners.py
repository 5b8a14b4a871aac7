"""The runners of simulated nodes: real conversations, fake suites."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from node.core import effects as fx
from node.core import events as ev
from proto import messages as m
from proto.messages import AssignmentId
from tests.core.fakerunner import FakeRunner
from tests.simulation.whole.process import Process

if TYPE_CHECKING:
    from tests.simulation.whole.world import World


class Runners:
    """Starts, commands and ends them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start(self, process: Process, opened: m.OpenSession) -> None:
        """A session begins; its slot must be free and exist."""
        world = self._world
        busy = [runner.open.slot for runner, _ in process.runners.values()]
        assert opened.slot not in busy, f"slot {opened.slot} of {process.name} is taken"
        most = max(world.slots[process.name], 1)
        assert opened.slot < most, f"{process.name} has no slot {opened.slot}"
        process.disk.packages.add(opened.package)

        def say(messages: tuple[m.AnyMessage, ...]) -> None:
            if any(isinstance(message, m.SessionEnded) for message in messages):
                process.runners.pop(opened.session, None)
            world.tell(process, ev.SessionSaid(session=opened.session, messages=messages))

        given = world.suites[opened.package]
        runner = FakeRunner(given, opened, say, world.once, world.first, world.pace, world.ran, world.batch)
        process.runners[opened.session] = (runner, runner.life())
        self._go_on(process, opened.session)

    def command(
        self, process: Process, session: AssignmentId, command: m.Run | tuple[AssignmentId, bool] | None
    ) -> None:
        """Put a command into the runner's inbox."""
        if session not in process.runners:
            return
        runner = process.runners[session][0]
        runner.inbox.append(command)
        if runner.waiting:
            runner.waiting = False
            self._world.later(0.0, lambda: self._go_on(process, session))

    def end(self, process: Process, effect: fx.EndSession) -> None:
        """No more assignments, or the end now."""
        if effect.session not in process.runners:
            return
        if not effect.kill:
            self.command(process, effect.session, None)
            return
        runner = process.runners[effect.session][0]
        runner.ended = True
        nothing: Iterator[float | None] = iter(())
        process.runners[effect.session] = (runner, nothing)
        self._world.later(self._world.pace(), lambda: self._killed(process, effect))

    def _killed(self, process: Process, effect: fx.EndSession) -> None:
        if process.alive and process.runners.pop(effect.session, None) is not None:
            ended = m.SessionEnded(session=effect.session, how="killed", message=effect.why)
            self._world.tell(process, ev.SessionSaid(session=effect.session, messages=(ended,)))

    def _go_on(self, process: Process, session: AssignmentId) -> None:
        if not process.alive or session not in process.runners:
            return
        wait = next(process.runners[session][1], None)
        if wait is not None:
            self._world.later(wait, lambda: self._go_on(process, session))
