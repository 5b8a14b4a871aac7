"""``python -m api``: check the settings, then become gunicorn. Settings come from ``TESTRING_*``."""

from __future__ import annotations

import os
import sys
from dataclasses import fields

from api.settings import UNSET, Settings, SettingsError, load


def main(argv: list[str]) -> int:
    """Replace this process by gunicorn; returns only if there is nothing to start (2: wrong settings)."""
    if argv and argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv:
        print(f"python -m api: unknown argument {argv[0]!r}; settings come from the environment, see --help")
        return 2
    try:
        load(os.environ)
    except SettingsError as error:
        print(f"python -m api: {error}", file=sys.stderr)
        return 2
    return os.execv(
        sys.executable, [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf"]
    )


def usage() -> str:
    """Every variable with its default and meaning."""
    lines = ["The HTTP service of Testring. Environment:", ""]
    for item in fields(Settings):
        variable, text = item.metadata["variable"], item.metadata["help"]
        shown = "" if item.default in (UNSET, ()) else f" (default {item.default})"
        lines.append(f"  {variable:26} {text}{shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
