"""Linux process facts for the warden: descendants, the kill loop, prctl. Standard library only.

Loaded by ``warden.py`` and ``zygote.py`` as a script's neighbour, so nothing here may import the rest
of the project.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

KILL_SECONDS = 10.0
"""How long a process tree may take to disappear before it is reported as still there."""
_GENTLE_SECONDS = 0.5


def become_subreaper() -> None:
    """Orphaned descendants become children of this process instead of init's."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def refuse_dumps() -> None:
    """Processes of the same uid may not read this one's memory and environment."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_dumps() -> None:
    """What exec would give back: this process's files below /proc belong to its own uid again."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when ``parent`` dies. A change of uid clears it: call it after."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(125)


def high(descriptor: int) -> int:
    """A duplicate above the numbers that a child gets."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)


def close_from(first: int) -> None:
    """Close every descriptor from ``first`` on."""
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[1] & 0x7FFFFFFF)


def reset_signals() -> None:
    """No signal is ignored, caught or blocked: what is here, or in the node's shell, passes to children."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def children(pid: int | str = "self") -> list[int]:
    """Direct children of a process, zombies included; empty if it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as listing:
                found += [int(word) for word in listing.read().split()]
    except OSError:
        pass  # a process may end while it is looked at: then it has no children
    return found


def descendants(roots: list[int] | None = None) -> list[int]:
    """All processes below ``roots`` (default: below this process), the roots included."""
    seen: list[int] = []
    todo = children() if roots is None else list(roots)
    while todo:
        pid = todo.pop()
        seen.append(pid)
        todo += children(pid)
    return seen


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _kill_uid(uid: int) -> None:
    """SIGKILL to every process of ``uid`` at once: forks in flight see the pending signal too."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        except OSError:
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)


def reap() -> bool:
    """Collect every ended child. True if no child is left at all."""
    try:
        while True:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return False
    except ChildProcessError:
        return True


def kill_everything(uid: int | None) -> int:
    """Kill all descendants of this process and wait until none is left.

    ``uid`` (only as root) is a user that no other job uses: all its processes die in one call,
    which no fork bomb outruns. Otherwise the tree is stopped first, so that it cannot fork on.

    Returns:
        How many processes are still there after ``KILL_SECONDS`` (0 is the normal answer).
    """
    start = time.monotonic()
    pause = 0.0005
    while not reap():
        waited = time.monotonic() - start
        if waited > KILL_SECONDS:
            return len(descendants())
        if uid is not None and os.geteuid() == 0:
            _kill_uid(uid)
        if uid is None or waited > _GENTLE_SECONDS:
            tree = descendants()
            signal_all(tree, signal.SIGSTOP)
            signal_all(tree, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return 0
