"""Plain pytest in an environment that Testring built: what every comparison refers to."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from node.workspace import folder_name, session_folder, strays
from tests.runner import reference_recorder

Key = tuple[str, int]
RUN_SECONDS = 1800.0
UID = 19_999
"""Test runners are not root; plain pytest must not be either, or permission tests differ."""


@dataclass(frozen=True)
class Built:
    """An environment and the built tree; ``roots`` are the tree's import roots.

    ``sessions`` is the folder in which a node makes its work copies, and ``name`` what it calls them:
    the reference runs in a copy whose path is as long, for ids may hold it.
    """

    python: Path
    tree: Path
    roots: tuple[str, ...] = ()
    sessions: Path | None = None
    name: str = "project"

    @classmethod
    def load(cls, place: Path) -> Built:
        """From the folder a node built it in."""
        record = json.loads((place / "environment.json").read_text(encoding="utf-8"))
        venv = place.parent / record["venv"] / "venv"
        sessions = place.parent.parent / "s"
        return cls(venv / "bin" / "python", place / "tree", tuple(record.get("roots", ())), sessions)

    @classmethod
    def base(cls, run_dir: Path, tree: Path) -> Built:
        """A tree that declares nothing, with a base environment that some node has built.

        Raises:
            LookupError: no node has one yet; run an evaluation first.
        """
        for place in environments(run_dir):
            if json.loads((place / "environment.json").read_text(encoding="utf-8"))["base"]:
                found = cls.load(place)
                return replace(found, tree=tree, roots=(), name=tree.name)
        raise LookupError(f"no base environment under {run_dir}")


@dataclass(frozen=True)
class Reference:
    """Outcomes of one plain run, in the order of the tests, and its wall time in seconds."""

    outcomes: dict[Key, str]
    seconds: float
    exit_code: int
    tail: str


def environments(run_dir: Path) -> set[Path]:
    """Folders of all finished environments under a run directory."""
    return {record.parent for record in run_dir.glob("*/env/*/environment.json")}


def serial(built: Built, arguments: Sequence[str], plugins: Sequence[str] = ()) -> Reference:
    """``python -m pytest --continue-on-collection-errors ARGS`` in a fresh copy of the built tree."""
    with _workplace(built) as (tree, home):
        out = home / "reference.json"
        variables = {
            "PATH": f"{built.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "LANG": "C.UTF-8",
            "USER": _user_name(),
            "LOGNAME": _user_name(),
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(
                [*(str(tree / root) for root in built.roots), str(home / "plugin")]
            ),
            "REFERENCE_OUT": str(out),
        }
        options = ["-p", reference_recorder.__name__.rpartition(".")[2], "--continue-on-collection-errors"]
        started = time.monotonic()
        done = subprocess.run(
            [str(built.python), "-m", "pytest", *options, *plugins, *arguments],
            cwd=tree,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=RUN_SECONDS,
            check=False,
            **_as_other_user(),
        )
        seconds = time.monotonic() - started
        lines = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
        outcomes = reference_recorder.outcomes(
            [(nodeid.replace(str(tree), "<root>"), when, category) for nodeid, when, category in lines]
        )
        return Reference(outcomes, seconds, done.returncode, done.stdout[-4000:])


@contextmanager
def _workplace(built: Built) -> Iterator[tuple[Path, Path]]:
    """(copy of the tree, home with the recorder), owned by the user that will run there."""
    top = _as_long_as(built.sessions)
    top.chmod(0o711)
    try:
        copy = top / folder_name(built.name)
        shutil.copytree(built.tree, copy, symlinks=True)
        home = top / "home"
        (home / "tmp").mkdir(parents=True)
        (home / "plugin").mkdir()
        shutil.copy(Path(reference_recorder.__file__), home / "plugin")
        if os.geteuid() == 0:
            for folder, names, files in os.walk(top):
                for name in (*names, *files):
                    os.chown(Path(folder) / name, UID, UID, follow_symlinks=False)
        yield copy, home
    finally:
        shutil.rmtree(top, ignore_errors=True)
        for left in strays(UID if os.geteuid() == 0 else None):
            # A fixed path that the suite uses in /tmp must be free for the next run, under another uid.
            if os.path.isdir(left) and not os.path.islink(left):
                shutil.rmtree(left, ignore_errors=True)
            else:
                os.unlink(left)


def _as_long_as(sessions: Path | None) -> Path:
    """A new folder whose path is as long as that of a session's folder in ``sessions``."""
    if sessions is None:
        return Path(tempfile.mkdtemp(prefix="ref-"))
    length = len(str(sessions / session_folder(0, 0)))
    made = Path(tempfile.mkdtemp(prefix="r", suffix="x" * max(0, length - len("/tmp/r") - 8), dir="/tmp"))
    assert len(str(made)) == length, f"{made} is not as long as the sessions' folders in {sessions}"
    return made


def _as_other_user() -> dict[str, object]:
    return {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}


def _user_name() -> str:
    return f"u{UID}" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
