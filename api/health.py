"""``python -m api.health [NODES]``: exit code 0 once this service reaches a master with so many nodes.

For the health checks of container engines, which have neither curl nor a token.
"""

from __future__ import annotations

import http.client
import json
import os
import sys

from api.settings import SettingsError, load

SECONDS = 4.0


def reach(bind: str) -> tuple[str, int]:
    """Where a service bound to ``HOST:PORT`` answers on this machine."""
    host, _, port = bind.split(",")[0].strip().rpartition(":")
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)


def nodes(bind: str) -> int:
    """How many nodes ``/health`` counts.

    Raises:
        OSError: the service does not answer.
        ValueError: it answers that it is not well, or with something else.
    """
    connection = http.client.HTTPConnection(*reach(bind), timeout=SECONDS)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = json.loads(response.read())
    except http.client.HTTPException as error:
        raise ValueError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"{response.status}: {body.get('detail', '')}")
    return int(body["nodes"])


def main(argv: list[str]) -> int:
    """Say in one line how the service is."""
    try:
        found = nodes(load(os.environ).bind)
    except (OSError, ValueError, SettingsError) as error:
        print(f"not healthy: {error}")
        return 1
    wanted = int(argv[0]) if argv else 1
    print(f"healthy, {found} nodes" if found >= wanted else f"{found} of {wanted} nodes")
    return 0 if found >= wanted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
