"""A finished environment on disk: its folder, and the record that says it is finished."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from node.environment.interpreter import Interpreter
from node.treecopy import tree_bytes
from proto.messages import Options

RULES = "2"
"""Changes when the same package and options would be built differently; older ones are then unused."""
_RECORD = "environment.json"


@dataclass(frozen=True)
class Environment:
    """A ready environment. ``tree`` is the built tree, to be copied for each session, never run in.

    ``base`` says that nothing but pytest is installed. ``import_roots`` are relative to the tree;
    in a copy they go on ``PYTHONPATH``.
    """

    key: str
    venv_key: str
    """The environment whose venv this one uses: its own, or the base environment's."""
    python: Path
    bin: Path
    tree: Path
    import_roots: tuple[PurePosixPath, ...] = ()
    notes: tuple[str, ...] = ()
    log: str = ""
    base: bool = False
    size: int = 0
    """Bytes on disk."""


class Record(msgspec.Struct, frozen=True):
    """What is written beside a finished environment; a folder without it is half done."""

    venv: str
    notes: tuple[str, ...] = ()
    log: str = ""
    roots: tuple[str, ...] = ()
    base: bool = False
    size: int = 0
    used_at: float = 0.0


def key_of(sha256: str, options: Options, interpreter: Interpreter) -> str:
    """Two requests with the same key get the same environment."""
    parts = (
        RULES,
        sha256,
        options.extras,
        options.groups,
        options.requirements,
        options.constraints,
        interpreter.version,
        str(interpreter.path),
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def keep(place: Path, final: Path, record: Record) -> Environment:
    """Finish an environment: move it to its folder if it is not there yet, and write its record.

    Raises:
        OSError: the disk failed.
    """
    if place.exists():
        shutil.rmtree(final, ignore_errors=True)
        place.rename(final)
    final.chmod(0o711)
    kept = msgspec.structs.replace(record, size=tree_bytes(final), used_at=time.time())
    (final / _RECORD).write_bytes(msgspec.json.encode(kept))
    return _environment(final, kept)


def load(place: Path) -> tuple[Environment, float] | None:
    """A finished environment and when it was last built or used (Unix time), or None."""
    try:
        record = msgspec.json.decode((place / _RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    venv = place.parent / record.venv / "venv"
    return (_environment(place, record), record.used_at) if (venv / "bin/python").exists() else None


def _environment(place: Path, record: Record) -> Environment:
    programs = place.parent / record.venv / "venv" / "bin"
    return Environment(
        key=place.name,
        venv_key=record.venv,
        python=programs / "python",
        bin=programs,
        tree=place / "tree",
        import_roots=tuple(PurePosixPath(root) for root in record.roots),
        notes=record.notes,
        log=record.log,
        base=record.base,
        size=record.size,
    )
