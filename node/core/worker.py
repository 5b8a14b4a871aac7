"""The worker's side: slots, local sessions, verdicts that wait for their answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeGuard

from node.core import effects as fx
from node.core.settings import CoreSettings
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId


@dataclass
class LocalSession:
    """A session of this node and the assignments it was given."""

    open: m.OpenSession
    assignments: set[AssignmentId] = field(default_factory=set)


@dataclass
class Unanswered:
    """Verdicts of one assignment that the master has not answered."""

    next: int = 0
    batches: deque[m.Verdicts] = field(default_factory=deque)


class Worker:
    """Turns the master's messages into local effects, and the sessions' words into messages."""

    def __init__(self, settings: CoreSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self.sessions: dict[AssignmentId, LocalSession] = {}
        self._deferred: dict[AssignmentId, m.OpenSession] = {}
        self._unanswered: dict[AssignmentId, Unanswered] = {}
        self.master = ""
        self.draining = False
        self.drain_deadline: float | None = None

    def holding(self) -> tuple[AssignmentId, ...]:
        """Assignments to re-report after a broken connection."""
        held = {assignment for session in self.sessions.values() for assignment in session.assignments}
        return tuple(sorted(held | set(self._unanswered)))

    def receive(self, message: AnyMessage) -> list[fx.AnyEffect]:
        """A message of the master."""
        if isinstance(message, m.Welcome):
            return self._welcome(message)
        if isinstance(message, m.OpenSession):
            return self._open(message)
        if isinstance(message, m.Run):
            session = self.sessions.get(message.session)
            if session is None:
                return self._tell(m.HandedBack(assignment=message.assignment, tests=message.select))
            session.assignments.add(message.assignment)
            return [fx.RunInSession(run=message)]
        if isinstance(message, m.CloseSession):
            if message.session in self._deferred:
                del self._deferred[message.session]
                return self._tell(m.SessionEnded(session=message.session, how="killed"))
            if message.session not in self.sessions:
                return []
            return [fx.EndSession(session=message.session, kill=message.kill, why="the master ended it")]
        if isinstance(message, m.Withdraw):
            for key, session in self.sessions.items():
                if message.assignment in session.assignments:
                    return [
                        fx.WithdrawInSession(session=key, assignment=message.assignment, tail=message.tail)
                    ]
            return []
        if isinstance(message, m.Answered):
            self._answered(message)
        return []

    def said(self, session: AssignmentId, messages: tuple[AnyMessage, ...]) -> list[fx.AnyEffect]:
        """What a local session has to say, in order."""
        effects: list[fx.AnyEffect] = []
        for message in messages:
            local = self.sessions.get(session)
            if isinstance(message, m.Verdicts):
                message = self._number(message)
            elif local is not None and (
                isinstance(message, m.Done)
                or (isinstance(message, m.HandedBack) and message.why == "unbegun")
            ):
                local.assignments.discard(message.assignment)
            elif isinstance(message, m.SessionEnded):
                self.sessions.pop(session, None)
                for waiting in list(self._deferred.values()):
                    effects += self._open(self._deferred.pop(waiting.session))
            effects += self._tell(message)
        self._sweep()
        return effects

    def drain(self, now: float) -> list[fx.AnyEffect]:
        """Leave in order: end the sessions once what runs is done, at the latest at the deadline."""
        self.draining = True
        self.drain_deadline = now + self._settings.drain_seconds
        effects: list[fx.AnyEffect] = [
            fx.WithdrawInSession(session=key, assignment=assignment)
            for key, session in self.sessions.items()
            for assignment in sorted(session.assignments)
        ]
        return effects + [fx.EndSession(session=key, kill=False, why="drain") for key in self.sessions]

    def drained(self) -> bool:
        """Whether nothing runs and every verdict is answered."""
        return self.draining and not self.sessions and not self._unanswered

    def overdue(self) -> list[fx.AnyEffect]:
        """The drain's deadline has come: kill what is left."""
        return [fx.EndSession(session=key, kill=True, why="drain deadline") for key in self.sessions]

    def _open(self, message: m.OpenSession) -> list[fx.AnyEffect]:
        """Start a session, once the slot's former one (void, being killed) is gone."""
        if any(session.open.slot == message.slot for session in self.sessions.values()):
            self._deferred[message.session] = message
            return []
        self.sessions[message.session] = LocalSession(message)
        return [fx.StartSession(open=message, master=self.master)]

    def _welcome(self, message: m.Welcome) -> list[fx.AnyEffect]:
        void = set(message.void)
        self._deferred.clear()
        effects: list[fx.AnyEffect] = []
        for key, session in self.sessions.items():
            if session.assignments & void or not session.assignments:
                effects.append(fx.EndSession(session=key, kill=True, why="its assignments are void"))
        for assignment in void:
            self._unanswered.pop(assignment, None)
        for waiting in self._unanswered.values():
            for batch in waiting.batches:
                effects += self._tell(batch)
        return effects

    def _number(self, message: m.Verdicts) -> m.Verdicts:
        waiting = self._unanswered.setdefault(message.assignment, Unanswered())
        numbered = m.Verdicts(assignment=message.assignment, first=waiting.next, verdicts=message.verdicts)
        waiting.next += len(message.verdicts)
        waiting.batches.append(numbered)
        return numbered

    def _answered(self, message: m.Answered) -> None:
        waiting = self._unanswered.get(message.assignment)
        if waiting is None:
            return
        while waiting.batches and waiting.batches[0].first + len(waiting.batches[0].verdicts) <= message.upto:
            waiting.batches.popleft()
        self._sweep()

    def _sweep(self) -> None:
        """Forget assignments that are over and fully answered."""
        running = {assignment for session in self.sessions.values() for assignment in session.assignments}
        for assignment in [a for a, w in self._unanswered.items() if not w.batches and a not in running]:
            del self._unanswered[assignment]

    def _tell(self, message: AnyMessage) -> list[fx.AnyEffect]:
        """Without a master there is nobody to tell: what matters is reported again on rejoining."""
        return [fx.Send(node=self.master, message=message)] if self.master else []


def _ends(message: AnyMessage) -> TypeGuard[m.Done | m.HandedBack]:
    """Whether an assignment is over with this."""
    return isinstance(message, m.Done) or (isinstance(message, m.HandedBack) and message.why == "unbegun")
