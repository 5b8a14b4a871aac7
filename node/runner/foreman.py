"""The loop that the warden and its zygotes share: take jobs from a socket, fork a caretaker for each.

Standard library only; loaded by scripts as their neighbour.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable

import caretaker
import processes

PACKET = 8192
_DESCRIPTORS = 3


class Foreman:
    """Forks a caretaker for each job and cleans up after caretakers that were killed.

    Args:
        source: the socket that jobs come from; its end of file ends the loop, once the last job is over.
        become: what a job's child does when it is caged.
    """

    def __init__(self, source: socket.socket, become: caretaker.Become) -> None:
        self.source = source
        self.become = become
        self.own: set[int] = set()
        """Children that are no strays: caretakers, zygotes."""
        self.on_exit: Callable[[int], None] = lambda pid: None
        self.wakeup, self._far = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._far, False)
        signal.set_wakeup_fd(self._far, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll = select.poll()
        self._watched: dict[int, Callable[[], None]] = {}
        self.watch(self.wakeup, self._reap)
        self.watch(source.fileno(), self._receive)

    def watch(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call ``call`` whenever ``descriptor`` can be read."""
        self._watched[descriptor] = call
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        """Undo ``watch``."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def run(self) -> None:
        """Serve until the far end of the socket closes and the last job is gone."""
        while self.source.fileno() in self._watched or self.own:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._watched:
                    self._watched[descriptor]()
        processes.kill_everything(None)

    def take(self, text: bytes, descriptors: list[int]) -> None:
        """One job has come."""
        self.start(descriptors)

    def over(self) -> None:
        """No job will come any more."""

    def forked(self) -> None:
        """In a caretaker: let go of what only this process may hold."""
        self.source.close()

    def start(self, descriptors: list[int]) -> None:
        """Fork the job's caretaker; closes the descriptors here."""
        job, control, *channel = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.forked()
            caretaker.run_forked(job, control, channel[0] if channel else None, self.become)
        self.own.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)

    def _receive(self) -> None:
        data, descriptors, _flags, _address = socket.recv_fds(self.source, PACKET, _DESCRIPTORS)
        if data:
            self.take(data, descriptors)
        else:
            self.forget(self.source.fileno())
            self.over()

    def _reap(self) -> None:
        os.read(self.wakeup, 4096)
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            self.own.discard(pid)
            self.on_exit(pid)
        # A caretaker that was killed leaves its tree to this subreaper.
        orphans = [pid for pid in processes.children() if pid not in self.own]
        if orphans:
            tree = processes.descendants(orphans)
            processes.signal_all(tree, signal.SIGSTOP)
            processes.signal_all(tree, signal.SIGKILL)
