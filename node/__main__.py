"""``python -m node``: start the warden, then the hub, then the node."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from node import config


class _JsonLines(logging.Formatter):
    """One JSON object per event."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_to_stderr(kind: str) -> None:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    text.converter = time.gmtime
    handler.setFormatter(_JsonLines() if kind == "json" else text)
    logging.basicConfig(level=os.environ.get("TESTRING_LOG_LEVEL", "INFO").upper(), handlers=[handler])


def main() -> int:
    """Run one node; the exit code is 2 for wrong settings, 1 for a node that failed."""
    try:
        settings = config.load(sys.argv[1:], os.environ)
    except config.ConfigError as error:
        print(f"testring node: {error}", file=sys.stderr)
        return 2
    _log_to_stderr(settings.log_format)
    # The warden is started before anything imports gevent: the hub's process never forks.
    from node.runner.children import Warden

    warden = Warden.start()
    from node.startup import StartError, serve

    try:
        return serve(settings, warden)
    except StartError as error:
        print(f"testring node: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
