"""``python -m tests.chaos.inside NETNS ARGS...``: ``python ARGS...`` in a network namespace.

The process stays the same, so its parent can stop and kill the node by the pid it started.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NoReturn

_CLONE_NEWNET = 0x40000000


def main() -> NoReturn:
    """Enter the namespace and become that Python."""
    name, *arguments = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        sys.exit(f"the namespace {name} cannot be entered: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.executable, [sys.executable, "-u", *arguments])


if __name__ == "__main__":
    main()
