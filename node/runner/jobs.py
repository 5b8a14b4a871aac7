"""What the warden is asked to run, and how it says that it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CHANNEL_VARIABLE = "TESTRING_CHANNEL"
"""Environment variable that tells a child the number of its channel's descriptor."""
_CHANNEL_DESCRIPTOR = "3"

Why = Literal["exit", "wall", "output", "killed", "dumped", "start", "lost"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command to run.

    ``argv[0]`` is an absolute path. ``env`` is the whole environment: nothing is inherited.
    ``uid``/``gid`` need root; ``own_uid`` says that no other job runs under that uid, so that all
    its processes may be killed with this job. ``rlimits`` maps ``NOFILE`` and the like to
    (soft, hard). ``wall`` is seconds, 0 for no limit. ``output_limit`` is the bytes of stdout and
    stderr together after which the job is killed; ``keep_output`` bytes are kept at each end.
    ``zygote`` says that ``argv`` is a session's, and that its interpreter's environment holds nothing
    but pytest: then a fork of a process that has imported pytest may take the place of exec.
    """

    argv: Sequence[str]
    cwd: Path | str
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int | None = None
    gid: int | None = None
    own_uid: bool = False
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    wall: float = 0.0
    output_limit: int = 16 << 20
    keep_output: int = 64 << 10
    channel: bool = False
    zygote: bool = False
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a job ended; when this exists, no process of the job is left (unless ``unkillable``).

    ``why``: ``exit`` (by itself), ``wall`` or ``output`` (a limit), ``killed`` or ``dumped`` (by order),
    ``start`` (could not be executed, see ``message``), ``lost`` (its caretaker was killed).
    ``signal`` is a name such as ``SIGSEGV``, or empty; ``out_of_memory``: the kernel killed it for its
    memory, None if it may have and nothing here tells. ``max_rss`` is bytes.
    """

    why: Why
    exit_code: int | None = None
    signal: str = ""
    out_of_memory: bool | None = False
    message: str = ""
    output: str = ""
    output_bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss: int = 0
    left_behind: int = 0
    unkillable: int = 0

    @property
    def ok(self) -> bool:
        """It ended by itself with exit code 0."""
        return self.why == "exit" and self.exit_code == 0


def encode(job: Job) -> bytes:
    """The JSON that the warden's caretaker reads."""
    env = dict(job.env)
    if job.channel:
        env[CHANNEL_VARIABLE] = _CHANNEL_DESCRIPTOR
    return json.dumps(
        {
            "argv": [str(word) for word in job.argv],
            "cwd": str(job.cwd),
            "env": env,
            "uid": job.uid,
            "gid": job.uid if job.gid is None else job.gid,
            "own_uid": job.own_uid,
            "rlimits": {name: list(pair) for name, pair in job.rlimits.items()},
            "wall": job.wall,
            "output_limit": job.output_limit,
            "keep_output": job.keep_output,
            "name": job.name,
        }
    ).encode()
