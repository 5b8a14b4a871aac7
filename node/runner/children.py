"""Child processes for the node's greenlets, by way of the warden.

``Warden.start()`` is called first thing in the process, before gevent is imported; ``attach()``
once the hub runs. Then ``run(job)`` and ``spawn(job)`` block only the calling greenlet.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from node.runner.jobs import Finished, Job, encode

if TYPE_CHECKING:
    from gevent import socket as gsocket
    from gevent.event import AsyncResult

__all__ = ["Child", "Finished", "Job", "Warden", "WardenLost"]

_REPORT_LIMIT = 16 << 20


class WardenLost(Exception):
    """The warden process is gone: this node can start nothing any more and must end."""


class Child:
    """A job that runs. ``channel`` is the node's end of its socket, if the job asked for one."""

    def __init__(self, job: Job, control: gsocket.socket, channel: gsocket.socket | None) -> None:
        import gevent
        from gevent.event import AsyncResult

        self.job = job
        self.channel = channel
        self._control = control
        self._result: AsyncResult[Finished] = AsyncResult()
        gevent.spawn(self._follow)

    def wait(self, timeout: float | None = None) -> Finished:
        """Block until the job is over.

        Raises:
            gevent.Timeout: ``timeout`` seconds passed first.
        """
        return self._result.get(timeout=timeout)

    @property
    def finished(self) -> Finished | None:
        """How it ended, or None while it runs."""
        return self._result.value if self._result.ready() else None

    def kill(self, why: str = "") -> None:
        """End the whole process tree now; ``wait`` then says ``killed``."""
        self._order(b"K" + why.encode("utf-8", "replace")[:200] + b"\n")

    def dump(self) -> None:
        """Ask a runner for its stacks (they end up in ``output``), then end the whole tree."""
        self._order(b"D\n")

    def abandon(self) -> None:
        """Let go of the job without waiting, as if this process had died: its tree is killed."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def _order(self, order: bytes) -> None:
        if self._result.ready():
            return
        try:
            self._control.sendall(order)
        except OSError:
            return  # the caretaker has just ended: its report is on the way

    def _follow(self) -> None:
        report = bytearray()
        try:
            while len(report) < _REPORT_LIMIT and (data := self._control.recv(65_536)):
                report += data
            finished = Finished(**json.loads(report))
        except (OSError, ValueError, TypeError):
            finished = Finished(why="lost", message="the process that watched this job was killed")
        self._control.close()
        self._result.set(finished)


class Warden:
    """The node's handle on its warden process."""

    def __init__(self, process: subprocess.Popen[bytes], node_end: socket.socket) -> None:
        self._process = process
        self._plain = node_end
        self._socket: gsocket.socket | None = None
        self._closing = False
        self._running: WeakSet[Child] = WeakSet()
        self.lost = False

    @classmethod
    def start(cls) -> Warden:
        """Exec the warden. Call it before gevent is imported, with one thread.

        Raises:
            OSError: the interpreter could not be executed.
        """
        node_end, warden_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with warden_end:
            script = Path(__file__).with_name("warden.py")
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(warden_end.fileno())],
                pass_fds=[warden_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={"LANG": "C.UTF-8"},
            )
        return cls(process, node_end)

    def attach(self, on_loss: Callable[[str], None] | None = None) -> None:
        """Move the socket to gevent. ``on_loss(reason)`` is called once if the warden dies."""
        import gevent
        from gevent import socket as gsocket

        self._socket = gsocket.socket(fileno=self._plain.detach())
        gevent.spawn(self._watch, on_loss)

    def spawn(self, job: Job) -> Child:
        """Start a job.

        Raises:
            WardenLost: there is no warden to start it.
        """
        if self._socket is None:
            self.attach()
        control, far_control = _pair()
        channel, far_channel = _pair() if job.channel else (None, None)
        memory = os.memfd_create("job", os.MFD_CLOEXEC)
        far = [far_control] if far_channel is None else [far_control, far_channel]
        try:
            _write_all(memory, encode(job))
            text = b"zygote " + os.fsencode(job.argv[0]) if job.zygote else b"job"
            self._send(text, [memory, *(end.fileno() for end in far)])
        except OSError as error:
            self.lost = True
            for near in filter(None, (control, channel)):
                near.close()
            raise WardenLost(f"the warden process is gone ({error.strerror}): restart this node") from error
        finally:
            os.close(memory)
            for end in far:
                end.close()
        child = Child(job, control, channel)
        self._running.add(child)
        return child

    def run(self, job: Job) -> Finished:
        """Start a job and wait for its end. If the calling greenlet is killed, so is the job."""
        child = self.spawn(job)
        if child.channel is not None:
            child.channel.close()
        try:
            return child.wait()
        except BaseException:
            child.kill("the waiting greenlet was stopped")
            raise

    def close(self) -> None:
        """Let the warden end, and with it every job that still runs."""
        self._closing = True
        for child in list(self._running):
            child.abandon()
        near = self._socket or self._plain
        with contextlib.suppress(OSError):  # the warden may have died before
            near.shutdown(socket.SHUT_RDWR)  # a close alone waits for the greenlet that reads
        near.close()

    def stop(self, seconds: float = 15.0) -> None:
        """``close()`` and wait for the warden's end; for use without a hub (process exit, tests).

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        self.close()
        deadline = time.monotonic() + seconds
        try:
            self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _send(self, text: bytes, descriptors: list[int]) -> None:
        assert self._socket is not None
        rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
        self._socket.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def _watch(self, on_loss: Callable[[str], None] | None) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):  # a reset says the same as an end of file
            self._socket.recv(1)
        if self._closing:
            return
        self.lost = True
        if on_loss is not None:
            on_loss("the warden process died: no test can be run any more; restart this node")


def _pair() -> tuple[gsocket.socket, socket.socket]:
    """A stream socket pair: the node's end for gevent, the far end blocking, as children expect."""
    from gevent import socket as gsocket

    near, far = socket.socketpair()
    return gsocket.socket(fileno=near.detach()), far


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
