"""Running uv as the build uid: its command, its environment variables, and what its words mean."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.environment.errors import BuildError
from node.environment.variables import build_variables
from node.runner.children import Finished, Job
from node.threads import in_pool
from node.workspace import Runs, Workspace

PRETEND = "0.0"
_VERSION_VARIABLES = (
    *("SETUPTOOLS_SCM_PRETEND_VERSION", "PBR_VERSION", "PDM_BUILD_SCM_VERSION"),
    *("UV_DYNAMIC_VERSIONING_BYPASS", "POETRY_DYNAMIC_VERSIONING_BYPASS"),
)
_LOG = 48_000
_FILE_LIMIT = 4 << 30


@dataclass(kw_only=True)
class Uv:
    """``wall`` is seconds for one command; ``environ`` is what the node was started with."""

    warden: Runs
    site: Workspace
    wall: float = 900.0
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _program: Path | None = None

    def run(self, args: Sequence[str], cwd: Path, *, pretend: str | None = None) -> Finished:
        """Run ``uv ARGS``; call it in a greenlet. ``pretend`` names the project (may be empty) whose
        version no history tells.

        Raises:
            BuildError: this node has no uv.
        """
        return self.warden.run(
            Job(
                argv=[str(self.program()), *args],
                cwd=cwd,
                env=self._variables(pretend),
                uid=self.site.build_uid,
                gid=self.site.build_uid,
                own_uid=self.site.root,
                rlimits={"FSIZE": (_FILE_LIMIT, _FILE_LIMIT), "CORE": (0, 0)},
                wall=self.wall,
                name=f"uv {args[0]}",
            )
        )

    def find_python(self, request: str) -> Finished:
        """Ask uv, as the node's own uid, where the Python ``request`` is; its path is the output."""
        home = self.environ.get("HOME", "/")
        env = {
            **build_variables(self.environ),
            "PATH": _search_path(self.environ),
            "HOME": home,
            "NO_COLOR": "1",
        }
        env["UV_PYTHON_DOWNLOADS"] = "never"
        return self.warden.run(
            Job(
                argv=[str(self.program()), "python", "find", "--no-project", "--no-config", request],
                cwd="/",
                env=env,
                wall=60.0,
                name="uv python find",
            )
        )

    def program(self) -> Path:
        """The uv binary, as the build uid can execute it: a copy if its own place shuts that uid out.

        Raises:
            BuildError: uv is not installed.
        """
        if self._program is None:
            self._program = in_pool(_find, self.site)
        return self._program

    def _variables(self, pretend: str | None) -> dict[str, str]:
        build = self.site.build
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **build_variables(self.environ),
            "HOME": str(build / "home"),
            "TMPDIR": str(build / "tmp"),
            "UV_CACHE_DIR": str(build / "cache"),
            # Hard links would let one project's build write into another's environment.
            "UV_LINK_MODE": "copy",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "UV_PYTHON_DOWNLOADS": self.environ.get("UV_PYTHON_DOWNLOADS", "never"),
        }
        if pretend is not None:
            env |= dict.fromkeys(_VERSION_VARIABLES, PRETEND)
            if pretend:
                suffix = re.sub(r"[-_.]+", "_", pretend).upper()
                env[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{suffix}"] = PRETEND
        return env


def failure(finished: Finished, doing: str, wall: float) -> BuildError:
    """The error for a uv command that failed, with uv's own first words in its message."""
    log = finished.output[-_LOG:]
    if finished.why == "wall":
        return BuildError(f"{doing}: not done within {wall:g} seconds (TESTRING_TIMEOUT_BUILD)", log)
    if finished.why == "output":
        return BuildError(f"{doing}: the build wrote too much output", log)
    if "No space left on device" in log:
        return BuildError(f"{doing}: this node's disk is full", log)
    reason = _reason(log) or finished.message or finished.signal or f"uv ended with {finished.exit_code}"
    return BuildError(f"{doing}: {reason[:500]}", log)


def _reason(log: str) -> str:
    """uv's error on one line: what follows ``error:`` or the cross, its causes included."""
    lines = log.splitlines()
    for index, line in enumerate(lines):
        if not line.lstrip().startswith(("error:", "×")):
            continue
        words = [line]
        for more in lines[index + 1 : index + 12]:
            if not more.strip() or more.lstrip().startswith(("[std", "hint")):
                break
            words.append(more)
        text = " ".join(word.strip(" ×╰─▶├│") for word in words)
        return " ".join(text.removeprefix("error:").split())
    return ""


def _search_path(environ: Mapping[str, str]) -> str:
    """PATH with pyenv's installations in place of its shims: a shim of an inactive version only fails."""
    folders = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    plain = [folder for folder in folders if Path(folder).name != "shims"]
    versions = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/"), ".pyenv")) / "versions"
    return ":".join((*plain, *(str(folder) for folder in sorted(versions.glob("3.*/bin")))))


def _find(site: Workspace) -> Path:
    found = _bundled() or shutil.which("uv")
    if found is None:
        raise BuildError("uv is not installed on this node: pip install uv")
    path = Path(found).resolve()
    if not site.root or _open_to_all(path):
        return path
    status = path.stat()
    copy = site.shared / f"uv-{status.st_size:x}-{status.st_mtime_ns:x}"
    if not copy.exists():
        partial = site.shared / f"partial-{os.getpid()}"
        shutil.copyfile(path, partial)
        partial.chmod(0o755)
        partial.rename(copy)
    return copy


def _bundled() -> str | None:
    try:
        from uv import find_uv_bin
    except ImportError:
        return None
    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return None


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o005 == 0o005) and all(
        folder.stat().st_mode & 0o001 for folder in path.parents
    )
