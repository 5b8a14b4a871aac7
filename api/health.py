"""``python -m api.health [NODES | --alive]``: exit code 0 if a master with so many nodes is reached.

``--alive`` is content with any answer: while there is no master, a restart of the service would not
help. For the health checks of container engines, which have neither curl nor a token.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Any

from api.settings import SettingsError, load

SECONDS = 4.0


def reach(bind: str) -> tuple[str, int]:
    """Where a service bound to ``HOST:PORT`` answers on this machine."""
    host, _, port = bind.split(",")[0].strip().rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)


def health(bind: str) -> tuple[int, dict[str, Any]]:
    """(status, body) of ``/health``.

    Raises:
        OSError: the service does not answer.
        ValueError: it answers with something else.
    """
    connection = http.client.HTTPConnection(*reach(bind), timeout=SECONDS)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, dict(json.loads(response.read()))
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def main(argv: list[str]) -> int:
    """Say in one line how the service is."""
    try:
        status, body = health(load(os.environ).bind)
    except (OSError, ValueError, SettingsError) as error:
        print(f"not healthy: {error}")
        return 1
    if status != 200:
        print(f"no master: {body.get('detail', status)}")
        return 0 if argv == ["--alive"] else 1
    wanted = int(argv[0]) if argv and argv != ["--alive"] else 1
    print(
        f"healthy, {body['nodes']} nodes" if body["nodes"] >= wanted else f"{body['nodes']} of {wanted} nodes"
    )
    return 0 if body["nodes"] >= wanted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
