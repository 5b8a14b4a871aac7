"""Questions that wait for an answer: from the core (by ticket) and from the master (relayed)."""

from __future__ import annotations

import itertools

from gevent import Timeout
from gevent.event import AsyncResult

from node.core.effects import Answer
from proto.messages import Response


class Unanswered(Exception):
    """No answer came within the deadline, or the node that was asked is gone."""


class Tickets:
    """Hands out tickets and matches answers to the greenlets that wait for them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, AsyncResult[Answer | Response]] = {}
        self._asked: dict[int, str] = {}

    def issue(self, asked: str = "") -> int:
        """A new ticket; ``asked`` is the node a relayed question goes to."""
        ticket = next(self._numbers)
        self._waiting[ticket] = AsyncResult()
        if asked:
            self._asked[ticket] = asked
        return ticket

    def wait(self, ticket: int, seconds: float) -> Answer:
        """The core's answer to ``ticket``.

        Raises:
            Unanswered: see the class.
        """
        answer = self._wait(ticket, seconds)
        assert isinstance(answer, Answer)
        return answer

    def wait_relayed(self, ticket: int, seconds: float) -> Response:
        """The master's answer to a relayed request (errors as ``wait``)."""
        response = self._wait(ticket, seconds)
        assert isinstance(response, Response)
        return response

    def _wait(self, ticket: int, seconds: float) -> Answer | Response:
        try:
            with Timeout(seconds):
                answer: Answer | Response = self._waiting[ticket].get()
                return answer
        except Timeout as error:
            raise Unanswered(f"no answer within {seconds:g} s") from error
        finally:
            self.forget(ticket)

    def forget(self, ticket: int) -> None:
        """Nobody will wait for it."""
        self._waiting.pop(ticket, None)
        self._asked.pop(ticket, None)

    def resolve(self, answer: Answer) -> None:
        """The core answered."""
        self._set(answer.ticket, answer)

    def relayed(self, response: Response) -> None:
        """The master answered a relayed request; its id is our ticket."""
        self._set(response.id, response)

    def fail_relayed(self, node: str) -> None:
        """The node that was asked is gone."""
        for ticket in [ticket for ticket, asked in self._asked.items() if asked == node]:
            self._waiting[ticket].set_exception(Unanswered("the master is gone"))

    def _set(self, ticket: int, value: Answer | Response) -> None:
        waiting = self._waiting.get(ticket)
        # A late answer finds nobody: its asker was told that the deadline passed.
        if waiting is not None:
            waiting.set(value)
