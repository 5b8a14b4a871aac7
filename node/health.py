"""``python -m node.health``: does every node of this machine, or this container, answer? Exit code 0 if so.

Containers of one host share the directory of control sockets, so the nodes to ask are those whose
sockets are bound in this network namespace. Any answer is a good one: a node that waits for a master
is alive, and restarting it would help nobody.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import NamedTuple

from proto.connection import Closed, Connection, HandshakeDone, MessageReceived
from proto.handshake import Identity
from proto.messages import GetHealth, Request, Response

SECONDS = 3.0
"""A node has so long to answer."""
LISTENING = 0x10000
"""``__SO_ACCEPTCON`` in the flags column of ``/proc/net/unix``."""
RECEIVE = 64 * 1024


class Silent(Exception):
    """A node did not answer; the message says which and why."""


def sockets(table: str) -> list[Path]:
    """The control sockets listened on, from the text of ``/proc/net/unix``."""
    found = []
    for line in table.splitlines()[1:]:
        columns = line.split(maxsplit=7)
        if len(columns) == 8 and int(columns[3], 16) & LISTENING:
            path = Path(columns[7])
            if path.name.startswith("node-") and path.suffix == ".sock":
                found.append(path)
    return sorted(set(found))


class Health(NamedTuple):
    """What a node answered."""

    status: int
    """200, or 503 if it knows no master."""
    loop_lag: dict[str, float]
    """Its loop's, in milliseconds: ``largest_ms`` since its start, ``recent_ms`` in the last minute."""


def ask(path: Path, seconds: float = SECONDS) -> Health:
    """Ask the node that listens at ``path``.

    Raises:
        Silent: nothing listens there, or no answer came in time.
    """
    end = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(str(path))
            response = _converse(sock, end)
    except OSError as error:
        raise Silent(f"{path}: {error.strerror or error}") from error
    lags = json.loads(response.body).get("loop_lag", {}).values()
    own = (lag for lag in lags if path.name == f"node-{lag.pop('node')}.sock")
    return Health(response.status, next(own, {}))


def _converse(sock: socket.socket, end: float) -> Response:
    connection = Connection(
        initiator=True,
        local=Identity(role="control", node=f"health-{os.getpid()}"),
        secret=b"",
        nonce=os.urandom(32),
        now=time.monotonic(),
    )
    while True:
        sock.sendall(b"".join(connection.data_to_send()))
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        sock.settimeout(left)
        data = sock.recv(RECEIVE)
        if not data:
            raise ConnectionError("the node closed the connection")
        connection.receive_data(data, time.monotonic())
        for event in connection.events_received():
            if isinstance(event, HandshakeDone):
                connection.send(Request(id=1, query=GetHealth()))
            elif isinstance(event, Closed):
                raise ConnectionError(str(event.error or "the node closed the connection"))
            elif isinstance(event, MessageReceived) and isinstance(event.message, Response):
                return event.message


def said(health: Health) -> str:
    """One line for people."""
    master = "in touch with the master" if health.status == 200 else "no master at present"
    if not health.loop_lag:
        return master
    return "{}; loop lag {recent_ms} ms at most in the last minute, {largest_ms} ms since it started".format(
        master, **health.loop_lag
    )


def main() -> int:
    """Ask every node of this network namespace; one line about each."""
    paths = sockets(Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape"))
    if not paths:
        print("no node listens on a control socket here")
        return 1
    try:
        for path in paths:
            print(f"{path.name}: {said(ask(path))}")
    except Silent as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
