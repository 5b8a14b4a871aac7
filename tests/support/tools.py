"""Programs that the tests start, found without PATH: the virtual environment need not be on it."""

from __future__ import annotations

from uv import find_uv_bin


def uv() -> str:
    """The uv that is installed with the project's own requirements."""
    return str(find_uv_bin())
