"""One multiplexed control connection: many callers, one reader, one writer.

Callers queue a request and wait; the writer flushes everything that was queued since it last looked in
one write; the reader hands each answer to the caller whose request id it repeats.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from pathlib import Path

from api.channel import Channel, ChannelClosed
from proto.connection import Event, MessageReceived, PeerSilent
from proto.messages import NotMaster, Query, Request, Response

log = logging.getLogger("testring.api")

MAX_WAITING = 4096
"""Requests of one connection that may wait for their answer at once."""


class LinkLost(ConnectionError):
    """The connection broke before the answer came; the request may be sent again elsewhere."""


class LinkBusy(Exception):
    """``MAX_WAITING`` requests wait already."""


class AnswerOverdue(TimeoutError):
    """The node lives but did not answer within the deadline."""


class _Waiter:
    """One caller: ``ready`` is set once ``response`` is there or the link is lost."""

    __slots__ = ("ready", "response")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.response: Response | None = None


class Link:
    """A live control connection; made by ``open``, over once ``lost`` says so."""

    def __init__(self, channel: Channel, path: Path) -> None:
        self.path = path
        self.lost = ""
        """Why the connection ended; empty while it lives."""
        self._channel = channel
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiter] = {}
        self._queued = threading.Event()
        threading.Thread(target=self._read, name="control-reader", daemon=True).start()
        threading.Thread(target=self._write, name="control-writer", daemon=True).start()

    @classmethod
    def open(cls, path: Path, *, timeout: float) -> Link:
        """Connect and authenticate within ``timeout`` seconds.

        Raises:
            ChannelClosed: no node answers at ``path``.
        """
        return cls(Channel.open(path, "control", timeout=timeout), path)

    def ask(self, query: Query, end: float) -> Response:
        """The node's answer, waited for until ``end`` (monotonic seconds).

        Raises:
            LinkLost: the connection broke; the query may have been received or not.
            AnswerOverdue: ``end`` passed.
            LinkBusy: too many requests wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LinkBusy(f"{MAX_WAITING} requests wait for the node already")
        number = next(self._ids)
        waiter = self._waiting[number] = _Waiter()
        try:
            if self.lost:
                raise LinkLost(self.lost)
            try:
                self._channel.send(Request(id=number, query=query))
            except ChannelClosed as error:
                raise LinkLost(str(error)) from error
            self._queued.set()
            waiter.ready.wait(max(0.0, end - time.monotonic()))
        finally:
            self._waiting.pop(number, None)
        if waiter.response is not None:
            return waiter.response
        if self.lost:
            raise LinkLost(self.lost)
        raise AnswerOverdue("the node did not answer in time")

    def close(self, why: str = "closed") -> None:
        """End the connection; whoever waits gets ``LinkLost``. Idempotent."""
        self.lost = self.lost or why
        # Wakes the reader, which does the rest.
        self._channel.shut()

    def _read(self) -> None:
        try:
            while not self.lost:
                for event in self._channel.receive():
                    self._take(event)
                # A received ping queues its answer.
                self._queued.set()
        except ChannelClosed as error:
            self.lost = self.lost or str(error)
        finally:
            self.lost = self.lost or "the reader ended"
            self._queued.set()
            for waiter in list(self._waiting.values()):
                waiter.ready.set()
            self._channel.close()

    def _take(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            message = event.message
            if isinstance(message, Response):
                waiter = self._waiting.pop(message.id, None)
                if waiter is not None:
                    waiter.response = message
                    waiter.ready.set()
            elif isinstance(message, NotMaster):
                log.info("%s is not the master (epoch %d)", self.path, message.epoch)
        elif isinstance(event, PeerSilent):
            self.close(f"the node at {self.path} went silent")

    def _write(self) -> None:
        try:
            while not self.lost:
                self._queued.wait()
                self._queued.clear()
                self._channel.flush()
        except ChannelClosed as error:
            self.close(str(error))
