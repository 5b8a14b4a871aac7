"""Source archives from the package registry, unpacked; kept in a cache between runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.support import tools

DOWNLOAD_SECONDS = 600.0


def cache() -> Path:
    """Where downloaded archives are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "testring" / "sdists"


def unpack(requirement: str, filename: str, into: Path) -> Path:
    """The tree of ``name==version``, fetched if it is not in the cache.

    Raises:
        RuntimeError: the registry does not give it.
    """
    archive = cache() / filename
    if not archive.exists():
        _download(requirement, archive)
    into.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    (root,) = into.iterdir()
    return root


def _download(requirement: str, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        # Only this one as source: what its build needs may come ready made.
        name = re.split(r"[=<>!~\[]", requirement)[0]
        command = [tools.uv(), "tool", "run", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", name, "--disable-pip-version-check", "--dest", scratch]
        done = subprocess.run(
            [*command, requirement],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
        found = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode != 0 or len(found) != 1:
            raise RuntimeError(f"{requirement} could not be downloaded:\n{done.stderr[-2000:]}")
        shutil.move(found[0], archive)
