"""One open session: its runner, the greenlets that read and write its channel, its time limits."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
from gevent import socket
from gevent.queue import Queue

from node.runner import dialogue, launch
from node.runner.batch import Batch
from node.runner.children import Child, Finished, Warden, WardenLost
from node.runner.ending import Progress, ending, stack_dump
from node.threads import in_pool
from proto.messages import (
    AnyMessage,
    AssignmentId,
    Collected,
    Done,
    HandedBack,
    Listing,
    Run,
    SessionEnded,
    SessionOpened,
    Verdict,
)

Post = Callable[[AssignmentId, tuple[AnyMessage, ...]], None]

READ = 256 << 10
GATHER = 0.004
"""Seconds to let lines pile up while tests run: tiny ones would else wake this greenlet once each."""
_LITTLE = 16 << 10
"""Bytes read at once; with more the socket's buffer could fill up and hold the tests up."""
_LAST_WORDS = 10.0
"""Seconds to read what a killed runner had written before."""


class RunnerSession:
    """Starts at once; ``post`` gets its messages, the last of which is ``SessionEnded``."""

    def __init__(self, warden: Warden, spec: launch.RunnerSpec, post: Post) -> None:
        self.spec = spec
        self._warden = warden
        self._post = post
        self._numbers: list[AssignmentId] = []
        self._commands: Queue[bytes] = Queue()
        self._batch = Batch()
        self._progress = Progress()
        self._open: set[int] = set()
        self._closing = False
        self._since = time.monotonic()
        self._child: Child | None = None
        self._greenlet = gevent.spawn(self._main)

    # --- orders of the node ------------------------------------------------------------------

    def run(self, assignment: Run) -> None:
        """Queue an assignment; never blocks."""
        number = len(self._numbers)
        self._numbers.append(assignment.assignment)
        self._open.add(number)
        select = [(test.nodeid, test.occurrence) for test in assignment.select] or None
        self._commands.put(dialogue.command("run", number, assignment.module, select))

    def withdraw(self, assignment: AssignmentId, tail: bool = False) -> None:
        """Ask for an assignment back, or (``tail``) for its last tests; answered by ``HandedBack``."""
        if assignment in self._numbers:
            number = len(self._numbers) - 1 - self._numbers[::-1].index(assignment)
            self._commands.put(dialogue.command("withdraw", number, tail))

    def close(self) -> None:
        """Nothing more will come: what is assigned is run, then the session ends."""
        self._closing = True
        if self._progress.running is None and not self._progress.collecting:
            self._since = time.monotonic()
        self._commands.put(dialogue.command("close"))

    def kill(self, why: str) -> None:
        """End the processes now."""
        if self._progress.killed is None:
            self._progress.killed = why
        if self._child is not None:
            self._child.kill(why)

    def join(self) -> None:
        """Block until the last message was posted."""
        self._greenlet.join()

    # --- the session's greenlets ---------------------------------------------------------------

    def _main(self) -> None:
        try:
            in_pool(launch.prepare_home, self.spec)
            if self._progress.killed is not None:
                self._say(
                    SessionEnded(session=self.spec.session, how="killed", message=self._progress.killed)
                )
                return
            self._child = child = self._warden.spawn(launch.job(self.spec))
            if self._progress.killed is not None:
                child.kill(self._progress.killed)
        except (OSError, WardenLost) as error:
            message = f"the runner could not be started: {error}"
            self._say(SessionEnded(session=self.spec.session, how="unusable", message=message))
            return
        writer = gevent.spawn(self._write, child)
        try:
            finished = self._follow(child)
        finally:
            writer.kill()
            child.kill("its session is over")
            assert child.channel is not None
            child.channel.close()
        self._flush()
        self._say(*self._timeout_verdict(finished), ending(self.spec.session, self._progress, finished))

    def _write(self, child: Child) -> None:
        assert child.channel is not None
        try:
            child.channel.sendall(dialogue.command("setup", self.spec.mode))
            while True:
                child.channel.sendall(self._commands.get())
        except OSError:
            return  # the runner is gone; the reader knows more

    def _follow(self, child: Child) -> Finished:
        """Read until the runner ends or must be ended."""
        lines = dialogue.Lines()
        try:
            while data := self._receive(child):
                for event in lines.feed(data):
                    self._take(event)
                if self._batch.due is not None and time.monotonic() >= self._batch.due:
                    self._flush()
                if self._progress.running is not None and len(data) < _LITTLE:
                    gevent.sleep(GATHER)
        except dialogue.ChannelCorrupted as error:
            self._progress.corrupted = str(error)
            child.kill("channel corrupted")
            return child.wait()
        except TimeoutError:
            child.dump()
            finished = child.wait()
            self._last_words(child, lines)
            return finished
        # End of file: the process has ended, or a test closed the channel under it.
        with gevent.Timeout(_LAST_WORDS, False):
            return child.wait()
        child.kill("the channel was closed")
        return child.wait()

    def _receive(self, child: Child) -> bytes:
        """Bytes of the channel; empty at its end.

        Raises:
            TimeoutError: a test, a collection or the opening has used up its time.
        """
        assert child.channel is not None
        while True:
            limit, words = self._limit()
            deadline = min(t for t in (limit, self._batch.due, time.monotonic() + 60) if t is not None)
            # Not the socket's own timeout: the writer shares the socket and may wait for long.
            with gevent.Timeout(max(0.0, deadline - time.monotonic()), False):
                return _read(child.channel)
            self._flush()
            if limit is not None and time.monotonic() >= limit:
                self._progress.timed_out = words
                raise TimeoutError(words)

    def _limit(self) -> tuple[float | None, str]:
        """(when the present activity must be over, what to say if it is not)."""
        progress, spec = self._progress, self.spec
        if progress.running is not None:
            return self._since + spec.test_limit, f"time limit of {spec.test_limit:g} s"
        if progress.collecting:
            return self._since + spec.test_limit, f"collection exceeded the limit of {spec.test_limit:g} s"
        if not progress.opened:
            return self._since + spec.timeout_open, f"pytest did not start within {spec.timeout_open:g} s"
        if progress.exit_code is not None or (self._closing and not self._open):
            return self._since + spec.timeout_open, f"did not end within {spec.timeout_open:g} s"
        return None, ""

    def _last_words(self, child: Child, lines: dialogue.Lines) -> None:
        """What the runner wrote before it was killed: a verdict may have crossed the order."""
        assert child.channel is not None
        try:
            with gevent.Timeout(_LAST_WORDS, False):
                while data := _read(child.channel):
                    for event in lines.feed(data):
                        self._take(event)
        except dialogue.ChannelCorrupted:
            return  # it was ended by force: half a line proves nothing

    def _timeout_verdict(self, finished: Finished) -> tuple[AnyMessage, ...]:
        progress = self._progress
        if not progress.timed_out or progress.running is None or progress.assignment is None:
            return ()
        verdict = Verdict(
            test=progress.running,
            outcome="timeout",
            seconds=round(time.monotonic() - self._since, 3),
            message=progress.timed_out,
            traceback=stack_dump(finished.output),
        )
        return tuple(self._batch.verdict(progress.assignment, verdict) + self._batch.take())

    # --- from the runner's events to the node's messages -----------------------------------------

    def _take(self, event: dialogue.AnyEvent) -> None:
        progress, session = self._progress, self.spec.session
        match event:
            case dialogue.Started(number, test):
                progress.assignment, progress.running, progress.collecting = self._id(number), test, ""
                self._since = time.monotonic()
                self._batch.started(self._id(number), test)
            case dialogue.Verdict(number, module, test):
                self._verdict(self._id(number), module, event)
                progress.collecting = ""
                if progress.running == test:
                    progress.running = None
            case dialogue.Collecting(number, module):
                progress.assignment, progress.collecting = self._id(number), module
                self._since = time.monotonic()
            case dialogue.Collected(number, module, tests, groups, last):
                progress.collecting = ""
                self._flush()
                self._say(
                    Collected(
                        assignment=self._id(number), module=module, tests=tests, last=last, groups=groups
                    )
                )
            case dialogue.Done(number):
                self._settle(number)
                self._say(Done(assignment=self._id(number)))
            case dialogue.Handed(number, tests, why):
                self._flush()
                if why == "unbegun":
                    self._settle(number)
                self._say(HandedBack(assignment=self._id(number), tests=tests, why=why))
            case dialogue.Listing(module, tests):
                self._say(Listing(session=session, module=module, tests=tests))
            case dialogue.Opened(modules, command, versions, notes):
                progress.opened = True
                self._say(
                    SessionOpened(
                        session=session, modules=modules, command=command, versions=versions, notes=notes
                    )
                )
            case dialogue.Stopped(reason):
                progress.stopped = reason
            case dialogue.Ended(exit_code):
                progress.exit_code = exit_code
                self._since = time.monotonic()

    def _verdict(self, assignment: AssignmentId, module: str, event: dialogue.Verdict) -> None:
        result = event.result
        verdict = Verdict(
            test=event.test,
            outcome=result.outcome,
            module=module,
            seconds=result.seconds,
            message=result.message,
            traceback=result.traceback,
            output=result.output,
            reports=result.reports,
        )
        self._say(*self._batch.verdict(assignment, verdict))

    def _settle(self, number: int) -> None:
        """The assignment is over: what was said of it goes out first."""
        self._open.discard(number)
        if self._progress.running is None and not self._progress.collecting:
            self._since = time.monotonic()
        self._flush()

    def _id(self, number: int) -> AssignmentId:
        if number >= len(self._numbers):
            raise dialogue.ChannelCorrupted(f"assignment {number} was never given")
        return self._numbers[number]

    def _flush(self) -> None:
        self._say(*self._batch.take())

    def _say(self, *messages: AnyMessage) -> None:
        if messages:
            self._post(self.spec.session, messages)


def _read(channel: socket.socket) -> bytes:
    """Bytes of the channel; empty at its end, however it came."""
    try:
        data: bytes = channel.recv(READ)
    except ConnectionError:
        return b""
    return data
