"""The worker's side: slots, local sessions, verdicts that wait for their answer.

Everything that a master might not have got stays here until it is answered or the session is over:
after a broken connection, or to a new master, it is reported and said again.
"""

from __future__ import annotations

from node.core import effects as fx
from node.core.holding import LocalRun, LocalSession
from node.core.settings import CoreSettings
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId


class Worker:
    """Turns the master's messages into local effects, and the sessions' words into messages."""

    def __init__(self, settings: CoreSettings, node: str) -> None:
        self._settings = settings
        self._node = node
        self.sessions: dict[AssignmentId, LocalSession] = {}
        self._where: dict[AssignmentId, AssignmentId] = {}
        self._deferred: dict[AssignmentId, m.OpenSession] = {}
        self.master = ""
        self.welcome = False
        """The master has answered the report: until then it is told nothing else."""
        self.draining = False
        self.drain_deadline: float | None = None

    # --- a master --------------------------------------------------------------------------------

    def follow(self, master: str, join: m.Join) -> list[fx.AnyEffect]:
        """Join this master, or join it again, with a report of what is held."""
        self.master, self.welcome = master, False
        self._deferred.clear()
        report: list[AnyMessage] = [join]
        for session in self.sessions.values():
            if session.void:
                continue
            held = m.Held(session=session.open, opened=session.opened is not None, closing=session.closing)
            report.append(held)
            for run in session.runs.values():
                report += run.report()
        return [fx.Send(node=master, message=message) for message in (*report, m.Reported())]

    def lost(self) -> None:
        """There is no master, or no way to it, until the next welcome."""
        self.master, self.welcome = "", False

    def _welcome(self, message: m.Welcome) -> list[fx.AnyEffect]:
        """Kill what is void, and say again what may not have arrived."""
        self.welcome = True
        effects: list[fx.AnyEffect] = []
        for key in message.void:
            if key in self.sessions:
                effects += self._void(self.sessions[key])
        for session in list(self.sessions.values()):
            again: list[AnyMessage] = [*session.listings]
            again += [session.opened] if session.opened is not None else []
            for key, run in list(session.runs.items()):
                again += run.again()
                if run.done is not None and not run.batches:
                    self._drop(session, key)
            if session.ended is not None:
                again.append(session.ended)
                # Said for the last time, unless something of it still waits for an answer.
                self._forget(session)
            effects += [fx.Send(node=self.master, message=one) for one in again]
        if self.draining:
            effects.append(fx.Send(node=self.master, message=m.Leaving()))
        return effects

    def _void(self, session: LocalSession) -> list[fx.AnyEffect]:
        session.void = True
        for run in session.runs.values():
            run.batches.clear()
            run.collected.clear()
        if session.ended is not None:
            self._forget(session)
            return []
        return [fx.EndSession(session=session.open.session, kill=True, why="its assignments are void")]

    def abandon(self) -> list[fx.AnyEffect]:
        """Nothing that runs here counts any more."""
        return [effect for one in list(self.sessions.values()) for effect in self._void(one)]

    def receive(self, message: AnyMessage) -> list[fx.AnyEffect]:
        """A message of the master."""
        if isinstance(message, m.Welcome):
            return self._welcome(message)
        if isinstance(message, m.OpenSession):
            return self._open(message)
        if isinstance(message, m.Run):
            return self._run(message)
        if isinstance(message, m.CloseSession):
            return self._close(message)
        if isinstance(message, m.Withdraw):
            session = self._where.get(message.assignment)
            if session is not None:
                return [
                    fx.WithdrawInSession(session=session, assignment=message.assignment, tail=message.tail)
                ]
        elif isinstance(message, m.Answered):
            self._answered(message)
        return []

    def _open(self, message: m.OpenSession) -> list[fx.AnyEffect]:
        """Start a session, once the slot's former one (void, being killed) is gone."""
        live = (session for session in self.sessions.values() if session.ended is None)
        if any(session.open.slot == message.slot for session in live):
            self._deferred[message.session] = message
            return []
        self.sessions[message.session] = LocalSession(message)
        return [fx.StartSession(open=message, master=self.master)]

    def _run(self, message: m.Run) -> list[fx.AnyEffect]:
        session = self.sessions.get(message.session)
        if session is None or session.ended is not None:
            return self._tell(m.HandedBack(assignment=message.assignment, tests=message.select))
        session.runs[message.assignment] = LocalRun(message)
        self._where[message.assignment] = message.session
        return [fx.RunInSession(run=message)]

    def _close(self, message: m.CloseSession) -> list[fx.AnyEffect]:
        if message.session in self._deferred:
            del self._deferred[message.session]
            return self._tell(m.SessionEnded(session=message.session, how="killed"))
        session = self.sessions.get(message.session)
        if session is None or session.ended is not None:
            return []
        session.closing = True
        return [fx.EndSession(session=message.session, kill=message.kill, why="the master ended it")]

    def _answered(self, message: m.Answered) -> None:
        session = self.sessions.get(self._where.get(message.assignment, message.assignment))
        run = session.runs.get(message.assignment) if session is not None else None
        if session is None or run is None:
            return
        while run.batches and run.batches[0].first + len(run.batches[0].verdicts) <= message.upto:
            run.batches.popleft()
        if not self.welcome:
            # It may come after the report: what is over now was reported, and is said again first.
            return
        if run.done is not None and not run.batches:
            self._drop(session, message.assignment)
        if session.over:
            self._forget(session)

    # --- the sessions ----------------------------------------------------------------------------

    def said(self, key: AssignmentId, messages: tuple[AnyMessage, ...]) -> list[fx.AnyEffect]:
        """What a local session has to say, in order."""
        effects: list[fx.AnyEffect] = []
        session = self.sessions.get(key)
        if session is None:
            return []
        for message in messages:
            effects += self._tell(self._kept(session, message))
            if isinstance(message, m.SessionEnded):
                session.ended = message
                if session.over and self.welcome:
                    self._forget(session)
                for waiting in list(self._deferred.values()):
                    effects += self._open(self._deferred.pop(waiting.session))
        return effects

    def _kept(self, session: LocalSession, message: AnyMessage) -> AnyMessage:
        """Remember what would have to be said again; the message as it is to be sent."""
        if isinstance(message, m.Listing):
            session.listings.append(message)
        elif isinstance(message, m.SessionOpened):
            session.opened = message
        elif isinstance(message, m.Collected | m.Started | m.Verdicts | m.Done | m.HandedBack):
            run = session.runs.get(message.assignment)
            if run is None:
                return message
            if isinstance(message, m.Collected):
                run.collected.append(message)
            elif isinstance(message, m.Started):
                run.started = message
            elif isinstance(message, m.Verdicts):
                message = m.Verdicts(assignment=message.assignment, first=run.next, verdicts=message.verdicts)
                run.next += len(message.verdicts)
                run.batches.append(message)
                run.started = None
            elif isinstance(message, m.HandedBack) and message.why != "unbegun":
                run.hand_back(message)
            else:
                run.done, run.started = message, None
                if not run.batches:
                    self._drop(session, message.assignment)
        return message

    def _drop(self, session: LocalSession, assignment: AssignmentId) -> None:
        session.runs.pop(assignment, None)
        self._where.pop(assignment, None)

    def _forget(self, session: LocalSession) -> None:
        if session.over:
            for assignment in list(session.runs):
                self._drop(session, assignment)
            self.sessions.pop(session.open.session, None)

    def _tell(self, message: AnyMessage) -> list[fx.AnyEffect]:
        """Without a master there is nobody to tell: what matters is said again after its welcome."""
        return [fx.Send(node=self.master, message=message)] if self.welcome else []

    # --- leaving ---------------------------------------------------------------------------------

    def drain(self, now: float) -> list[fx.AnyEffect]:
        """Leave in order: end the sessions once what runs is done, at the latest at the deadline."""
        self.draining = True
        self.drain_deadline = now + self._settings.drain_seconds
        live = [session for session in self.sessions.values() if session.ended is None]
        effects: list[fx.AnyEffect] = [
            fx.WithdrawInSession(session=session.open.session, assignment=assignment)
            for session in live
            for assignment in session.runs
        ]
        effects += [fx.EndSession(session=one.open.session, kill=False, why="drain") for one in live]
        return [*self._tell(m.Leaving()), *effects]

    def drained(self) -> bool:
        """Whether nothing runs and every verdict is answered."""
        return self.draining and not self.sessions

    def silent(self) -> bool:
        """Whether nothing runs; verdicts may wait for their answers."""
        return all(session.ended is not None for session in self.sessions.values())

    def overdue(self) -> list[fx.AnyEffect]:
        """The drain's deadline has come: kill what is left."""
        return [
            fx.EndSession(session=key, kill=True, why="drain deadline")
            for key, session in self.sessions.items()
            if session.ended is None
        ]
