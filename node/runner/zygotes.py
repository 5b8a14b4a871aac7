"""The warden's side of zygotes: processes that have imported pytest and are forked for each session.

A zygote is started at the first job that may use it. Jobs that come before it is ready wait for it;
if it cannot start, they are run by exec, as all later ones for that interpreter. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import processes

if TYPE_CHECKING:
    import foreman

MOST = 4
"""Interpreters that have a zygote at one time; each takes some 30 MB."""
_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zygote.py")
_ENVIRONMENT = {"HOME": "/", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}
"""What of a runner's environment an interpreter reads when it starts: the same as every runner has."""


class Zygote:
    """One of them. Jobs that came before it said that it is ready wait in ``waiting``."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.ready = False
        self.waiting: list[list[int]] = []
        self.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self.pid = os.fork()
            if self.pid == 0:
                _exec(python, far.fileno())

    def send(self, descriptors: list[int]) -> None:
        """Hand a job over; closes the descriptors here."""
        socket.send_fds(self.socket, [b"job"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


class Zygotes:
    """All zygotes of a warden, by interpreter."""

    def __init__(self, warden: foreman.Foreman) -> None:
        self._warden = warden
        self._zygotes: dict[str, Zygote] = {}
        self._hopeless: set[str] = set()
        warden.on_exit = self._ended

    def take(self, python: str, descriptors: list[int]) -> bool:
        """Whether the job is taken: started by a zygote, or kept until that one is ready."""
        zygote = self._zygotes.get(python) or self._new(python)
        if zygote is None:
            return False
        if not zygote.ready:
            zygote.waiting.append(descriptors)
            return True
        try:
            zygote.send(descriptors)
        except OSError:
            return False  # it has just died; its end is about to be noticed
        return True

    def close(self) -> None:
        """No job will come any more: they end with their last one."""
        for zygote in self._zygotes.values():
            self._warden.forget(zygote.socket.fileno())
            zygote.socket.close()

    def _new(self, python: str) -> Zygote | None:
        if python in self._hopeless or len(self._zygotes) >= MOST:
            return None
        zygote = self._zygotes[python] = Zygote(python)
        self._warden.own.add(zygote.pid)
        self._warden.watch(zygote.socket.fileno(), lambda: self._heard(zygote))
        return zygote

    def _heard(self, zygote: Zygote) -> None:
        """It is ready, or at its end."""
        if not zygote.socket.recv(16):
            self._lose(zygote)
            return
        zygote.ready = True
        waiting, zygote.waiting = zygote.waiting, []
        for descriptors in waiting:
            if not self.take(zygote.python, descriptors):
                self._warden.start(descriptors)

    def _lose(self, zygote: Zygote) -> None:
        if self._zygotes.get(zygote.python) is not zygote:
            return
        del self._zygotes[zygote.python]
        self._warden.forget(zygote.socket.fileno())
        zygote.socket.close()
        if not zygote.ready and len(self._hopeless) < 1000:
            self._hopeless.add(zygote.python)
        for descriptors in zygote.waiting:
            self._warden.start(descriptors)

    def _ended(self, pid: int) -> None:
        for zygote in list(self._zygotes.values()):
            if zygote.pid == pid:
                self._lose(zygote)


def _exec(python: str, descriptor: int) -> None:
    """In the fork: become the zygote. It holds nothing of the warden's but its socket."""
    try:
        null = os.open("/dev/null", os.O_RDWR)
        keep = 3
        high = processes.high(descriptor)
        for target in (0, 1):
            os.dup2(null, target, inheritable=True)
        os.dup2(high, keep, inheritable=True)
        processes.close_from(keep + 1)
        signal.set_wakeup_fd(-1)
        processes.reset_signals()
        os.execve(python, [python, _SCRIPT, str(keep)], _ENVIRONMENT)
    except BaseException as error:  # noqa: BLE001 - the fork must never return into the warden
        with contextlib.suppress(OSError):
            os.write(2, f"testring: no zygote: {error}\n".encode())
    os._exit(127)
