"""The warden: a small process that starts, watches and ends every child process of a node.

Usage: ``python -I -S warden.py FD``, started by exec before the node's event loop exists. It imports
the standard library only and has one thread, so that it may fork; the node, with its loop and its
threads, never does.

``FD`` is a Unix SOCK_SEQPACKET socket. Each packet of the node is one job: the text ``job`` with
two or three descriptors (SCM_RIGHTS): a memory file with the job as JSON, a stream socket on which
the job is controlled and reported (see ``caretaker.py``), and, if the job asks for one, the child's
end of a channel. End of file means that the node is gone: every job sees the same on its own control
socket and kills its tree; the warden waits for them and leaves.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import caretaker
import processes

del sys.path[0]

_PACKET = 64
_DESCRIPTORS = 3


class Warden:
    """Forks a caretaker for each job and cleans up after caretakers that were killed."""

    def __init__(self, node: socket.socket) -> None:
        self.node = node
        self.caretakers: set[int] = set()
        self.wakeup, write_end = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serve until the node's end of the socket closes and the last job is gone."""
        poll = select.poll()
        poll.register(self.node, select.POLLIN)
        poll.register(self.wakeup, select.POLLIN)
        serving = True
        while serving or self.caretakers:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self.wakeup in ready:
                os.read(self.wakeup, 4096)
                self._reap()
            if serving and self.node.fileno() in ready:
                serving = self._take_job()
                if not serving:
                    poll.unregister(self.node)
        processes.kill_everything(None)

    def _take_job(self) -> bool:
        data, descriptors, _flags, _address = socket.recv_fds(self.node, _PACKET, _DESCRIPTORS)
        if not data:
            return False
        job, control, *channel = descriptors
        pid = os.fork()
        if pid == 0:
            self._become_caretaker(job, control, channel[0] if channel else None)
        self.caretakers.add(pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _become_caretaker(self, job: int, control: int, channel: int | None) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.node.close()
        caretaker.run_forked(job, control, channel)

    def _reap(self) -> None:
        while True:
            try:
                pid, _status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                break
            self.caretakers.discard(pid)
        # A caretaker that was killed leaves its tree to this subreaper.
        orphans = [pid for pid in processes.children() if pid not in self.caretakers]
        if orphans:
            tree = processes.descendants(orphans)
            processes.signal_all(tree, signal.SIGSTOP)
            processes.signal_all(tree, signal.SIGKILL)


def main() -> None:
    processes.become_subreaper()
    processes.refuse_dumps()
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the node decides; its end is ours
    node = socket.socket(fileno=int(sys.argv[1]))
    node.set_inheritable(False)
    Warden(node).run()


if __name__ == "__main__":
    main()
