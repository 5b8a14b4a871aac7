"""The HTTP service as a process that can be killed and started again on the same port."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cli.children import Child
from cli.errors import CommandError

READY_SECONDS = 60.0
_READY = re.compile(r"listening (?:at|on):? *(?:http://)?(?P<address>\S+:\d+)", re.IGNORECASE)


class Service:
    """Nothing runs before ``start``.

    Args:
        name: of the process and its logs.
        sockets: the directory of the control sockets; the master's is looked for there.
        top: where it runs, and below which its logs are kept.
        environment: further settings.
    """

    def __init__(self, name: str, sockets: Path, top: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.url = ""
        self.lives = 0
        self.child: Child | None = None
        self._sockets = sockets
        self._top = top
        self._environment = environment

    def start(self) -> None:
        """Start it; after a first time, on the same port. ``ready`` says when it listens."""
        self.child = Child(
            self.name,
            "api",
            [],
            ready=_READY,
            log=self._top / "logs" / f"{self.name}-{self.lives}.log",
            environment={
                **self._environment,
                "TESTRING_API_BIND": self.url.removeprefix("http://") or "127.0.0.1:0",
                "TESTRING_SOCKET": str(self._sockets / "master.sock"),
            },
            # gunicorn puts its current directory first on the import path.
            cwd=self._top,
        )
        self.lives += 1

    def ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it listens.

        Raises:
            CommandError: it does not within ``seconds``.
        """
        assert self.child is not None
        self.url = "http://" + self.child.wait_ready(seconds)["address"]

    @property
    def listening(self) -> bool:
        """Whether it does by now.

        Raises:
            CommandError: it ended instead.
        """
        assert self.child is not None
        try:
            self.ready(0.0)
        except CommandError:
            if not self.child.running:
                raise
            return False
        return True

    def kill(self) -> None:
        """SIGKILL its process and its gunicorn workers."""
        assert self.child is not None
        self.child.kill()
