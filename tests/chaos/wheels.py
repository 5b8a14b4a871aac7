"""The wheels the nodes build their environments from: a node in a namespace reaches no index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from cli.errors import CommandError

_SECONDS = 120.0


def gather(directory: Path) -> dict[str, str]:
    """Fetch pytest and what it needs; the variables that make uv use only those.

    Raises:
        CommandError: the package index does not answer.
    """
    directory.mkdir(mode=0o755)
    command = [find_uv_bin(), "tool", "run", "--python", sys.executable, "pip", "--quiet", "download"]
    command += ["--only-binary", ":all:", "--dest", str(directory), "pytest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise CommandError(f"pytest's wheels cannot be fetched: {last[0]}")
    return {"UV_FIND_LINKS": str(directory), "UV_NO_INDEX": "1", "UV_OFFLINE": "1"}
