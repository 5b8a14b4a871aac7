"""Run directories and wardens for tests of the rooms that start children."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.runner.children import Warden


@contextmanager
def run_directory() -> Iterator[Path]:
    """A folder every uid may enter: pytest's own temporary folders are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="tr-test-", dir="/tmp"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def running_warden() -> Iterator[Warden]:
    """A warden process, attached to this thread's hub."""
    warden = Warden.start()
    warden.attach()
    try:
        yield warden
    finally:
        warden.stop()


def is_root() -> bool:
    """Whether children can get uids of their own."""
    return os.geteuid() == 0
