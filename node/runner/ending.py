"""The rule that turns a runner's end into ``SessionEnded``: one pure function, one table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from node.runner.children import Finished
from proto.messages import AssignmentId, SessionEnded, TestId

CHANNEL_LOST = 70
"""Exit code of the plugin when a test closed or replaced the runner's descriptors."""
USAGE_ERROR, INTERNAL_ERROR = 4, 3
LOG_LIMIT = 64 << 10

How = Literal["closed", "killed", "died", "timeout", "output", "unusable"]


@dataclass(kw_only=True)
class Progress:
    """What is known of a session when its runner has ended."""

    opened: bool = False
    exit_code: int | None = None
    """What pytest's own session finish said, if it came that far."""
    stopped: str = ""
    """Why the session's loop was left early: ``Exit: ...``, ``KeyboardInterrupt: ...``."""
    assignment: AssignmentId | None = None
    running: TestId | None = None
    collecting: str = ""
    killed: str | None = None
    """The reason, if the node ended it by order."""
    timed_out: str = ""
    """Which limit passed, in words."""
    corrupted: str = ""


def ending(session: AssignmentId, progress: Progress, finished: Finished) -> SessionEnded:
    """The last message of a session."""
    how, message = _how(progress, finished)
    busy = how != "closed" and (progress.running is not None or progress.collecting != "")
    return SessionEnded(
        session=session,
        how=how,
        message=message[:1000],
        log="" if how in ("closed", "killed") else finished.output[-LOG_LIMIT:],
        assignment=progress.assignment if busy else None,
        suspect=progress.running if busy else None,
        collecting=progress.collecting if busy else "",
    )


def _how(progress: Progress, finished: Finished) -> tuple[How, str]:
    busy = progress.running is not None or progress.collecting != ""
    if progress.killed is not None:
        return "killed", progress.killed
    if progress.timed_out:
        if not progress.opened:
            return "unusable", progress.timed_out
        return ("timeout" if busy else "closed"), progress.timed_out
    if progress.corrupted:
        return "died", f"channel corrupted: {progress.corrupted}"
    if finished.why == "output":
        return "output", f"printed more than {finished.output_bytes >> 20} MiB past pytest's capture"
    if finished.why == "start":
        return "unusable", f"the runner could not be started: {finished.message}"
    if finished.signal or finished.why == "lost":
        return "died", death(finished)
    if not progress.opened or progress.exit_code == USAGE_ERROR:
        return "unusable", _complaint(finished)
    if progress.exit_code == INTERNAL_ERROR:
        return "died", f"INTERNALERROR in pytest: {progress.stopped or _complaint(finished)}"
    if progress.exit_code is None:
        return "died", death(finished)
    if progress.stopped and busy:
        return "died", f"stopped the session: {progress.stopped}"
    return "closed", progress.stopped


_MEMORY = {
    True: ": out of memory, by the kernel's count of such kills",
    False: "",
    None: " (out of memory, perhaps: this machine does not let its count of such kills be read)",
}


def death(finished: Finished) -> str:
    """One line on how a process ended that should not have."""
    if finished.why == "lost":
        return finished.message
    if finished.signal:
        return f"killed by {finished.signal}{_MEMORY[finished.out_of_memory]}"
    if finished.exit_code == CHANNEL_LOST:
        return "a test closed or replaced the descriptors of its own runner"
    return f"called os._exit({finished.exit_code})"


_COMPLAINTS = (
    r".*: error: ",
    r"ERROR: ",
    r"INTERNALERROR> \w+(\.\w+)*(Error|Exception)",
    r"E   ",
    r"\w+(\.\w+)*Error: ",
)


def _complaint(finished: Finished) -> str:
    """The line of pytest's output that says best why it refused."""
    lines = [line.strip() for line in finished.output.splitlines() if line.strip()]
    for pattern in _COMPLAINTS:
        for line in lines:
            if re.match(pattern, line):
                return re.sub(r"^(.*: error: |ERROR: |INTERNALERROR> |E\s+)", "", line)
    last = lines[-1] if lines else "it printed nothing"
    return f"pytest did not start (exit code {finished.exit_code}): {last}"


_STACK = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\)")


def stack_dump(output: str) -> str:
    """The stacks that the plugin wrote on request, or an empty text."""
    found = _STACK.search(output)
    return output[found.start() :][:LOG_LIMIT] if found else ""
