"""Who this node is: an id and a directory of its own on disk, held by a lock while it runs.

A lost disk is a new node id. Several nodes may share one data directory (an embedded cluster, one
volume for all containers); each takes a free identity, and a restarted node takes one that is free.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

FOUNDED = "founded"
"""The marker of an identity that has founded a cluster."""


class IdentityError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class NodeIdentity:
    """``directory`` is ``DATA/nodes/<node>``; the lock lives as long as this object's descriptor."""

    node: str
    directory: Path
    lock: int

    def release(self) -> None:
        """Let another process take this identity."""
        os.close(self.lock)


def take(data: Path, *, founder: bool) -> NodeIdentity:
    """A free identity under ``data``, else a new one.

    A founder takes one that has founded before, so that it finds its evaluations again; a joining
    node never takes that one, or it would be gone when the founder comes back.

    Raises:
        IdentityError: the directory cannot be written.
    """
    nodes = data / "nodes"
    try:
        nodes.mkdir(parents=True, exist_ok=True)
        for directory in sorted(entry for entry in nodes.iterdir() if entry.is_dir()):
            if (directory / FOUNDED).exists() != founder:
                continue
            identity = _lock(directory)
            if identity is not None:
                return identity
        while True:
            identity = _lock(nodes / f"n{secrets.token_hex(4)}")
            if identity is not None:
                if founder:
                    (identity.directory / FOUNDED).touch()
                return identity
    except OSError as error:
        raise IdentityError(
            f"the data directory {data} cannot be used: {error.strerror or error}; "
            "give another with --data or mend its permissions"
        ) from error


def _lock(directory: Path) -> NodeIdentity | None:
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return NodeIdentity(directory.name, directory, lock)
