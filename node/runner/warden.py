"""The warden: a small process that starts, watches and ends every child process of a node.

Usage: ``python -I -S warden.py FD``, started by exec before the node's event loop exists. It imports
the standard library only and has one thread, so that it may fork; the node, with its loop and its
threads, never does.

``FD`` is a Unix SOCK_SEQPACKET socket. Each packet of the node is one job: the text ``job`` with
two or three descriptors (SCM_RIGHTS): a memory file with the job as JSON, a stream socket on which
the job is controlled and reported (see ``caretaker.py``), and, if the job asks for one, the child's
end of a channel. ``zygote PYTHON`` in place of ``job`` says that a process of that interpreter which
has imported pytest may run it (see ``zygotes.py``). End of file means that the node is gone: every
job sees the same on its own control socket and kills its tree; the warden waits for them and leaves.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import caretaker
import foreman
import processes
import zygotes

del sys.path[0]


class Warden(foreman.Foreman):
    """Takes jobs from the node: runs them itself, or has a zygote run them."""

    def __init__(self, node: socket.socket) -> None:
        super().__init__(node, caretaker.execute)
        self.zygotes = zygotes.Zygotes(self)

    def take(self, text: bytes, descriptors: list[int]) -> None:
        word, _, python = text.partition(b" ")
        if word != b"zygote" or not self.zygotes.take(os.fsdecode(python), descriptors):
            self.start(descriptors)

    def over(self) -> None:
        self.zygotes.close()

    def forked(self) -> None:
        super().forked()
        self.zygotes.close()


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
