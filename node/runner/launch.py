"""How one pytest session is started: its environment, its folders, its command, its limits."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from node.runner.children import Job
from proto.messages import AssignmentId, Options

PLUGIN = Path(__file__).parent / "inject" / "_testring_session.py"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_LIMIT = 16 << 20
"""Bytes a runner may print past pytest's capture before it is ended."""
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class RunnerSpec:
    """One session to open. Paths are absolute; times are seconds.

    ``tree`` is the slot's own copy of the project and the runner's working directory. ``home`` is a
    folder for this session alone; HOME, TMPDIR and the plugin's copy lie in it. ``import_roots`` go
    on PYTHONPATH and ``path_prefix`` before PATH. ``uid`` (root only) must belong to no other runner.
    ``base`` says that the environment holds nothing but pytest.
    """

    session: AssignmentId
    mode: Literal["lazy", "whole"]
    tree: Path
    home: Path
    python: Path
    import_roots: tuple[Path, ...] = ()
    path_prefix: tuple[Path, ...] = ()
    options: Options = field(default_factory=Options)
    uid: int | None = None
    timeout_test: float = 300.0
    timeout_open: float = 120.0
    worker: str = ""
    tmp: Path | None = None
    base: bool = False

    @property
    def temporary(self) -> Path:
        """TMPDIR: elsewhere where the home's path would leave Unix sockets too little room."""
        return self.tmp or self.home / "tmp"

    @property
    def test_limit(self) -> float:
        """Seconds one test or one module's collection may take."""
        return self.options.timeout_test or self.timeout_test


def environment(spec: RunnerSpec) -> dict[str, str]:
    """The runner's whole environment; the submission's own variables win."""
    name = f"u{spec.uid}" if spec.uid is not None else "testring"
    variables = {
        "PATH": os.pathsep.join([*map(str, spec.path_prefix), SYSTEM_PATH]),
        "HOME": str(spec.home),
        "TMPDIR": str(spec.temporary),
        "LANG": "C.UTF-8",
        "USER": name,
        "LOGNAME": name,
        "PYTHONHASHSEED": "0",
        "TESTRING_WORKER": spec.worker,
    }
    if spec.import_roots:
        variables["PYTHONPATH"] = os.pathsep.join(map(str, spec.import_roots))
    return {**variables, **spec.options.env}


def limits(spec: RunnerSpec) -> dict[str, tuple[int, int]]:
    """Resource limits (soft, hard). NPROC counts a uid's processes, so it needs one of its own."""
    chosen = {"CORE": (0, 0), "NOFILE": (1024, 4096), "FSIZE": (2 * _GIB, 2 * _GIB)}
    if spec.uid is not None:
        chosen["NPROC"] = (1024, 1024)
    return chosen


def prepare_home(spec: RunnerSpec) -> None:
    """Make the session's folders and put the plugin there. Touches the disk: run it in a thread.

    Raises:
        OSError: the folder cannot be made.
    """
    temporary = spec.temporary
    plugin = plugin_copy(spec)
    for folder in (spec.home, temporary):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not plugin.exists():
        shutil.copyfile(PLUGIN, plugin)
        plugin.chmod(0o644)
    if spec.uid is not None:
        for path in (spec.home, temporary, plugin):
            os.chown(path, spec.uid, spec.uid, follow_symlinks=False)


def plugin_copy(spec: RunnerSpec) -> Path:
    """Where the session's interpreter finds the plugin: the node's own copy may be unreadable to it."""
    return spec.home / PLUGIN.name


def job(spec: RunnerSpec) -> Job:
    """The child process of the session."""
    return Job(
        argv=[str(spec.python), str(plugin_copy(spec)), *spec.options.pytest_args],
        cwd=spec.tree,
        env=environment(spec),
        uid=spec.uid,
        own_uid=spec.uid is not None,
        rlimits=limits(spec),
        output_limit=OUTPUT_LIMIT,
        channel=True,
        # Variables of the submission's may be for the interpreter, which reads them when it starts.
        zygote=spec.base and not spec.options.env,
        name=f"session {spec.session}",
    )
