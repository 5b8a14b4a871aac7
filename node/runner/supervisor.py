"""The open sessions of a node: each is one runner on one slot.

A session that ends, for whatever reason, is told of once (``SessionEnded``) and never retried here:
the master decides what happens to its open assignments.
"""

from __future__ import annotations

import gevent

from node.runner.children import Warden
from node.runner.launch import RunnerSpec
from node.runner.session import Post, RunnerSession
from proto.messages import AnyMessage, AssignmentId, HandedBack, Run, SessionEnded

__all__ = ["RunnerSpec", "Supervisor"]


class Supervisor:
    """``post(session, messages)`` is called from greenlets, in order within a session.

    Messages are ``SessionOpened Listing Collected Started Verdicts Done HandedBack SessionEnded``;
    ``Verdicts.first`` is always 0: whoever keeps them until they are answered numbers them.
    """

    def __init__(self, warden: Warden, post: Post) -> None:
        self._warden = warden
        self._post = post
        self._sessions: dict[AssignmentId, RunnerSession] = {}

    def open(self, spec: RunnerSpec) -> None:
        """Start a runner; never blocks. ``SessionOpened`` or ``SessionEnded`` follows."""
        self._sessions[spec.session] = RunnerSession(self._warden, spec, self._forward)

    def run(self, run: Run) -> None:
        """Give an assignment to its session; handed back at once if that is gone."""
        session = self._sessions.get(run.session)
        if session is None:
            self._post(run.session, (HandedBack(assignment=run.assignment),))
        else:
            session.run(run)

    def withdraw(self, session: AssignmentId, assignment: AssignmentId, tail: bool = False) -> None:
        """Ask for an assignment, or its tail; answered by ``HandedBack``, or by ``Done`` if it is over."""
        found = self._sessions.get(session)
        if found is not None:
            found.withdraw(assignment, tail)

    def end(self, session: AssignmentId, kill: bool = False, why: str = "") -> None:
        """No more assignments for this session, or (``kill``) end its processes now."""
        found = self._sessions.get(session)
        if found is None:
            return
        if kill:
            found.kill(why)
        else:
            found.close()

    def close(self, why: str = "the node stops", timeout: float = 15.0) -> None:
        """Kill every session and wait for their ends, at most ``timeout`` seconds."""
        sessions = list(self._sessions.values())
        for session in sessions:
            session.kill(why)
        gevent.joinall([gevent.spawn(session.join) for session in sessions], timeout=timeout)

    @property
    def sessions(self) -> tuple[AssignmentId, ...]:
        return tuple(self._sessions)

    def _forward(self, session: AssignmentId, messages: tuple[AnyMessage, ...]) -> None:
        if any(isinstance(message, SessionEnded) for message in messages):
            self._sessions.pop(session, None)
        self._post(session, messages)
