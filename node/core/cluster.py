"""``ClusterState``: the one entrance. Events go in, effects come out, time is an argument.

A thin facade over the master's and the worker's side of a node. The master's own slots are served
by its own worker side: messages between the two are looped back here instead of being sent.
"""

from __future__ import annotations

from collections import deque

from node.core import effects as fx
from node.core import events as ev
from node.core.master import Master
from node.core.membership import Roster
from node.core.settings import CoreSettings
from node.core.worker import Worker
from proto import messages as m

TICK = 0.5
"""Seconds between looks at time limits while anything is unfinished."""


class ClusterState:
    """Decides everything about the cluster and knows no socket, clock, file or greenlet.

    Args:
        slots: sessions this node runs at once; ``alone``: while it is a master without workers.
        epoch: of the last master this node knows of.
    """

    def __init__(
        self,
        settings: CoreSettings,
        *,
        node: str,
        address: str,
        slots: int,
        alone: int,
        epoch: int,
        master: bool,
    ) -> None:
        self._settings = settings
        self._node = node
        self._address = address
        self._slots = slots
        self._worker = Worker(settings, node)
        self._master: Master | None = None
        self._at = 0.0
        self._offset = 0.0
        self._stopping = False
        if master:
            self._master = Master(
                settings, node, Roster(node, address, slots, alone, settings.isolation), epoch
            )
            self._worker.master = node

    @property
    def is_master(self) -> bool:
        """Whether this node decides."""
        return self._master is not None

    @property
    def master(self) -> str:
        """Node id of the master, or empty."""
        return self._worker.master

    def handle(self, event: ev.AnyEvent, now: float) -> list[fx.AnyEffect]:
        """What is to be done about one event. ``now`` is monotonic seconds."""
        # Unix time follows the monotonic clock between the events that carry it.
        self._offset = getattr(event, "at", now + self._offset) - now
        self._at = now + self._offset
        effects = self._on(event, now)
        if self._master is not None:
            effects += self._master.advance(now, self._at)
        return self._route(effects, now)

    def next_deadline(self) -> float | None:
        """When to come back with a ``Tick`` at the latest, monotonic seconds."""
        return self._worker.drain_deadline

    def addresses(self) -> dict[str, str]:
        """Node id -> address of the live members."""
        return self._master.roster.addresses() if self._master is not None else {}

    def live(self, evaluation: int) -> dict[tuple[int, str], int]:
        """(project, module) -> tests that run right now."""
        running: dict[tuple[int, str], int] = {}
        if self._master is None:
            return running
        for key, work in self._master.lifecycle.works.items():
            if key[0] != evaluation:
                continue
            for session in work.sessions.values():
                for assignment in session.assignments.values():
                    if assignment.running is not None:
                        where = (key[1], assignment.piece.module)
                        running[where] = running.get(where, 0) + 1
        return running

    def validate(self) -> None:
        """Check the state against itself; for tests.

        Raises:
            AssertionError: it does not agree.
        """
        if self._master is not None:
            self._master.validate()

    def story(self, evaluation: int) -> str:
        """What happened to an evaluation's sessions, one line each; empty where nothing is known."""
        return self._master.story(evaluation) if self._master is not None else ""

    def _on(self, event: ev.AnyEvent, now: float) -> list[fx.AnyEffect]:
        master = self._master
        if isinstance(event, ev.SessionSaid):
            return self._worker.said(event.session, event.messages)
        if isinstance(event, ev.Stopping):
            return self._stop(now)
        if isinstance(event, ev.Tick):
            return self._tick(now)
        if master is None:
            return self._on_worker(event, now)
        if isinstance(event, ev.Replayed):
            master.replay(event, now)
        elif isinstance(event, ev.Submitted):
            return master.submit(event)
        elif isinstance(event, ev.Cloned | ev.CloneFailed):
            master.cloned(event)
        elif isinstance(event, ev.Recalled):
            master.recalled(event)
        elif isinstance(event, ev.Asked):
            return master.ask(event, now)
        elif isinstance(event, ev.Committed):
            return master.committed(event.position)
        elif isinstance(event, ev.PeerDown):
            return master.lost(event.node)
        elif isinstance(event, ev.Received):
            return master.receive(event.node, event.message)
        return []

    def _on_worker(self, event: ev.AnyEvent, now: float) -> list[fx.AnyEffect]:
        worker = self._worker
        if isinstance(event, ev.PeerUp):
            join = m.Join(
                address=self._address,
                slots=self._slots,
                isolation=self._settings.isolation,
                holding=worker.holding(),
            )
            return [fx.Send(node=event.node, message=join)]
        if isinstance(event, ev.PeerDown):
            if event.node == worker.master:
                worker.master = ""
        elif isinstance(event, ev.Received):
            if isinstance(event.message, m.Welcome):
                worker.master = event.node
            elif isinstance(event.message, m.Join):
                return [fx.Send(node=event.node, message=m.NotMaster(epoch=0))]
            elif isinstance(event.message, m.Drain):
                return self._stop(now)
            if event.node == worker.master:
                return worker.receive(event.message)
        return []

    def _stop(self, now: float) -> list[fx.AnyEffect]:
        if self._stopping:
            return []
        self._stopping = True
        if self._master is not None:
            # The evaluations go on when a master is started on this disk again.
            return [fx.Stop()]
        effects: list[fx.AnyEffect] = [fx.Send(node=self._worker.master, message=m.Bye(reason="drain"))]
        return effects + self._worker.drain(now) + self._leave()

    def _tick(self, now: float) -> list[fx.AnyEffect]:
        deadline = self._worker.drain_deadline
        if deadline is not None and now >= deadline:
            self._worker.drain_deadline = now + 1.0
            return self._worker.overdue()
        return []

    def _leave(self) -> list[fx.AnyEffect]:
        if not self._worker.drained():
            return []
        return [fx.Disconnect(node=self._worker.master, reason="drained"), fx.Stop()]

    def _route(self, effects: list[fx.AnyEffect], now: float) -> list[fx.AnyEffect]:
        """Loop messages to this node itself back; the rest goes to the shell."""
        out: list[fx.AnyEffect] = []
        queue = deque(effects)
        while queue:
            effect = queue.popleft()
            if isinstance(effect, fx.Send) and effect.node == self._node and self._master is not None:
                message = effect.message
                if isinstance(message, TO_WORKER):
                    queue.extend(self._worker.receive(message))
                else:
                    queue.extend(self._master.receive(self._node, message))
                    queue.extend(self._master.advance(now, self._at))
            else:
                out.append(effect)
        if self._stopping and self._master is None and not any(isinstance(effect, fx.Stop) for effect in out):
            out += self._leave()
        return out


TO_WORKER = (m.OpenSession, m.Run, m.Withdraw, m.CloseSession, m.Answered, m.Welcome)
"""Messages a master sends; all others between a node and itself go the other way."""
