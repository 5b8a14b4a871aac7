"""One job of the warden: start the child, watch it, end it, report. Standard library only.

Runs in a process of its own, forked by ``warden.py`` (or by a zygote) for each job, and is the
subreaper of everything the job starts. It talks to the node over ``control``:

=========  =====================================================================================
from node  ``K<why>\\n`` kill now; ``D\\n`` ask for a stack dump, then kill; end of file: the node
           is gone, kill at once
to node    one JSON object, then end of file, when nothing of the job is left alive
=========  =====================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import memory
import processes

DUMP_SIGNAL = signal.SIGRTMIN + 11
"""Real-time signal on which the injected plugin writes all stacks to the runner's first stderr."""
_DUMP_SECONDS = 0.5
_READ = 65_536
_CHILD_CHANNEL = 3


class Unwind(BaseException):
    """Raised in a forked child that does not exec: it leaves all of this code, and runs ``job``."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__()
        self.job = job


Become = Callable[[dict[str, Any], int], None]
"""What the child does once it is caged: called with the job and the descriptor for a failure's text."""


def start_child(job: dict[str, Any], output: int, channel: int | None, failure: int, become: Become) -> int:
    """Fork the job's child; its pid. A failure to start is written to ``failure``."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        told = _settle(job, output, channel, failure, parent)
        become(job, told)
    except Unwind:
        raise
    except BaseException as error:  # noqa: BLE001 - the child must never return into this code
        os.write(failure, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4000])
    os._exit(127)


def execute(job: dict[str, Any], failure: int) -> None:
    """Exec the job's command."""
    try:
        os.execve(job["argv"][0], job["argv"], job["env"])
    except OSError as error:
        os.write(failure, f"cannot execute {job['argv'][0]}: {error.strerror}".encode())
    os._exit(127)


def _settle(job: dict[str, Any], output: int, channel: int | None, failure: int, parent: int) -> int:
    """Make this process the job's own: session, limits, uid, descriptors, signals.

    Returns the descriptor on which a failure is told, closed by exec.
    """
    os.setsid()
    os.umask(0o022)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # before the change of uid, after which it is refused
    for name, (soft, hard) in job["rlimits"].items():
        limit = getattr(resource, f"RLIMIT_{name}")
        ceiling = resource.getrlimit(limit)[1]
        if ceiling != resource.RLIM_INFINITY and os.geteuid() != 0:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(limit, (soft, hard))
    uid, gid = job["uid"], job["gid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    processes.die_with_parent(parent)  # after the change of uid, which clears it
    os.chdir(job["cwd"])
    # Everything the child keeps is moved above the numbers it will get, then into place.
    keep_failure = processes.high(failure)
    keep_output = processes.high(output)
    keep_channel = None if channel is None else processes.high(channel)
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (keep_output, 1), (keep_output, 2)):
        os.dup2(source, target, inheritable=True)
    first = _CHILD_CHANNEL
    if keep_channel is not None:
        os.dup2(keep_channel, _CHILD_CHANNEL, inheritable=True)
        first += 1
    os.dup2(keep_failure, first, inheritable=False)
    processes.close_from(first + 1)
    processes.reset_signals()
    return first


class Output:
    """What the job printed: counted whole, kept at both ends."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.total = 0
        self.head = b""
        self.tail = b""

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.keep - len(self.head)
        self.head += data[:room] if room > 0 else b""
        rest = data[room:] if room > 0 else data
        self.tail = (self.tail + rest)[-self.keep :]

    def text(self) -> str:
        missing = self.total - len(self.head) - len(self.tail)
        middle = f"\n[... {missing} bytes left out ...]\n".encode() if missing else b""
        return (self.head + middle + self.tail).decode("utf-8", "replace")


class Watch:
    """Waits for the first of: the child's end, an order from the node, a limit."""

    def __init__(self, job: dict[str, Any], pid: int, pipe: int, control: int) -> None:
        self.job, self.pid, self.pipe, self.control = job, pid, pipe, control
        self.handle = os.pidfd_open(pid)
        self.output = Output(job["keep_output"])
        self.why = ""
        self.deadline = time.monotonic() + job["wall"] if job["wall"] else None
        self.kills = memory.KillCount()
        self.poll = select.poll()
        for descriptor in (pipe, self.handle, control):
            self.poll.register(descriptor, select.POLLIN)

    def run(self) -> str:
        """Block until the job is over; why: ``exit wall output killed dumped orphaned``."""
        while not self.why:
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                self.why = "wall"
                break
            pause = self.kills.refresh()
            ready = {
                descriptor
                for descriptor, _ in self.poll.poll(min(pause, pause if left is None else left) * 1000 + 1)
            }
            if self.pipe in ready:
                self._read()
            if self.control in ready and not self.why:
                self._obey(os.read(self.control, 4096))
            if self.handle in ready and not self.why:
                self.why = "exit"
        return self.why

    def drain(self) -> None:
        """Take what is still in the pipe; another process may hold its far end open for ever."""
        os.set_blocking(self.pipe, False)
        with contextlib.suppress(BlockingIOError):
            while self.output.total <= self.job["output_limit"] + (1 << 20) and self._read():
                pass

    def _read(self) -> bool:
        data = os.read(self.pipe, _READ)
        if not data:
            with contextlib.suppress(KeyError):
                self.poll.unregister(self.pipe)
            return False
        self.output.add(data)
        if self.output.total > self.job["output_limit"] and not self.why:
            self.why = "output"
        return True

    def _obey(self, order: bytes) -> None:
        if not order:
            self.why = "orphaned"
        elif order.startswith(b"D"):
            self.why = "dumped"
            processes.signal_all([self.pid], signal.SIGCONT)
            processes.signal_all([self.pid], DUMP_SIGNAL)
            self._listen(time.monotonic() + _DUMP_SECONDS)
        else:
            self.why = "killed"

    def _listen(self, until: float) -> None:
        """Read the dump until the child falls silent; the C-level handler writes it at once."""
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while time.monotonic() < until and poll.poll(max(0, (until - time.monotonic()) * 1000)):
            if not self._read():
                return


def care(job: dict[str, Any], control: int, channel: int | None, become: Become) -> None:
    """Run one job to its end and report on ``control``. Never raises for what the job does."""
    processes.become_subreaper()
    processes.refuse_dumps()
    started = time.monotonic()
    pipe, output = os.pipe()
    told, failure = os.pipe()
    pid = start_child(job, output, channel, failure, become)
    os.close(output)
    os.close(failure)
    if channel is not None:
        os.close(channel)
    watch = Watch(job, pid, pipe, control)
    why = watch.run()
    seconds = time.monotonic() - started
    left_behind = len([other for other in processes.descendants() if other != pid])
    if why != "exit":
        processes.signal_all([pid], signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    unkillable = processes.kill_everything(job["uid"] if job["own_uid"] else None)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and why == "exit"
    watch.drain()
    os.set_blocking(told, False)
    try:
        failed = os.read(told, 4096).decode("utf-8", "replace")
    except BlockingIOError:
        failed = ""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = {
        "why": "start" if failed else why,
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": signal_name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "",
        "out_of_memory": watch.kills.risen() if killed else False,
        "message": failed,
        "output": watch.output.text(),
        "output_bytes": watch.output.total,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "max_rss": usage.ru_maxrss * 1024,
        "left_behind": left_behind,
        "unkillable": unkillable,
    }
    data = json.dumps(report).encode()
    while data:
        data = data[os.write(control, data) :]


def signal_name(number: int) -> str:
    """``SIGSEGV``; real-time signals without a name of their own are ``SIG<number>``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def run_forked(job_descriptor: int, control: int, channel: int | None, become: Become) -> None:
    """Entrance of the forked caretaker: read the job, care for it, leave."""
    try:
        os.lseek(job_descriptor, 0, os.SEEK_SET)
        with os.fdopen(job_descriptor, "rb") as stream:
            job = json.load(stream)
        care(job, control, channel, become)
    except Unwind:
        raise
    except BrokenPipeError:
        processes.kill_everything(None)  # the node went away while the report was written
    except BaseException as error:  # noqa: BLE001 - the last frame of a forked process
        processes.kill_everything(None)
        sys.stderr.write(f"warden: job failed: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)
