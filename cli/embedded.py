"""A whole cluster on this machine: a master, workers and the HTTP service, as child processes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import requests

from cli.children import Child
from cli.errors import INTERNAL, CommandError

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
API_STOP_SECONDS = 3.0
"""The HTTP service holds nothing that could be lost, but waits for idle keep-alive connections."""
DRAIN_SECONDS = 5.0
"""When the whole cluster stops there is nobody to hand work to: running tests get only so long."""

NODE_READY = re.compile(
    r"^node (?P<id>\S+) listening on (?P<address>\S+) socket (?P<socket>.+?)(?: role \S+)?$"
)
_API_READY = re.compile(r"listening (?:at|on):? *(?:http://)?(?P<address>\S+:\d+)", re.IGNORECASE)


class Embedded:
    """Starts nothing until ``start``; ``stop`` ends everything, in order, and is idempotent.

    Args:
        data: results and identities; kept.
        workers: nodes beside the master.
        listen: the master's CDProto address; port 0 takes a free one.
        bind: the HTTP service's address; port 0 takes a free one.
        slots: sessions of each worker; with no worker, of the master.
        run_dir: environments and work copies; None leaves it to the node.
        environment: settings for all processes, beside this process's own variables.
    """

    def __init__(
        self,
        data: Path,
        *,
        workers: int = 2,
        listen: str = "127.0.0.1:0",
        bind: str = "127.0.0.1:0",
        slots: int = 1,
        run_dir: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data = data.absolute()
        self.url = ""
        self.master_address = ""
        self.children: list[Child] = []
        self.addresses: dict[str, str] = {}
        """Name of a child -> its CDProto address."""
        self._workers = workers
        self._listen = listen
        self._bind = bind
        self._slots = slots
        self._run_dir = run_dir
        self._environment = environment or {}
        self._count = 0
        self._sockets: Path | None = None

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until the HTTP service says it is healthy.

        Raises:
            CommandError: a port is taken, or a process did not come up; nothing is left running.
        """
        check_free(self._listen, "the node's port (choose another with --listen)")
        check_free(self._bind, "the HTTP service's port (choose another with --port)")
        try:
            (self.data / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(
                f"{self.data}: results cannot be kept there ({error.strerror}); "
                "give another folder with --data"
            ) from error
        # Short, because a socket's path has at most about 100 bytes; private, because mode 0700 guards it.
        self._sockets = Path(
            tempfile.mkdtemp(prefix="testring-", dir=os.environ.get("XDG_RUNTIME_DIR") or None)
        )
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def _start_all(self) -> None:
        master = self._node("master", ["--master", "--listen", self._listen, "--slots", self._master_slots()])
        ready = master.wait_ready(READY_SECONDS)
        self.master_address = ready["address"]
        self.addresses[master.name] = self.master_address
        workers = [self.add_worker(wait=False) for _ in range(self._workers)]
        assert self._sockets is not None
        api = Child(
            "api",
            "api",
            [],
            ready=_API_READY,
            log=self.data / "logs" / "api.log",
            environment={
                **self._environment,
                "TESTRING_API_BIND": self._bind,
                "TESTRING_SOCKET": str(self._sockets / "master.sock"),
            },
            # gunicorn puts its current directory first on the import path.
            cwd=self.data,
        )
        self.children.append(api)
        for worker in workers:
            self.addresses[worker.name] = worker.wait_ready(READY_SECONDS)["address"]
        self.url = "http://" + api.wait_ready(READY_SECONDS)["address"]
        self._wait_healthy(api)

    def _master_slots(self) -> str:
        return "0" if self._workers else str(self._slots)

    def add_worker(self, *, slots: int | None = None, wait: bool = True) -> Child:
        """Start one more worker; by default wait for its ready line."""
        self._count += 1
        arguments = ["--join", self.master_address, "--listen", "127.0.0.1:0"]
        worker = self._node(
            f"worker {self._count}", [*arguments, "--slots", str(self._slots if slots is None else slots)]
        )
        if wait:
            self.addresses[worker.name] = worker.wait_ready(READY_SECONDS)["address"]
        return worker

    def child(self, name: str) -> Child:
        """The process of that name."""
        return next(child for child in self.children if child.name == name)

    def dead(self) -> Child | None:
        """A process that ended by itself, if there is one."""
        return next((child for child in self.children if not child.running), None)

    def forget(self, child: Child) -> None:
        """Stop expecting this process to run."""
        self.children.remove(child)
        child.wait(0.0)

    def stop(self, *, quickly: bool = False) -> list[str]:
        """End the HTTP service, then the nodes; who had to be killed, by name.

        All nodes are told at once: a cluster stops as a whole, where one node after the other would be
        replaced among those who hold the log by the next to go.
        """
        killed = []
        for kind in ("api", "node"):
            group = [child for child in self.children if child.name.startswith("api") == (kind == "api")]
            for child in group:
                child.send(signal.SIGKILL if quickly else signal.SIGTERM)
            end = time.monotonic() + (API_STOP_SECONDS if kind == "api" else STOP_SECONDS)
            for child in group:
                if not child.wait(end - time.monotonic()):
                    child.kill()
                    killed.append(child.name)
                self.children.remove(child)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        return killed

    def _node(self, name: str, arguments: list[str]) -> Child:
        common = [
            "--data",
            str(self.data),
            "--socket-dir",
            str(self._sockets),
            "--drain-seconds",
            str(DRAIN_SECONDS),
        ]
        if self._run_dir is not None:
            common += ["--run-dir", str(self._run_dir)]
        child = Child(
            name,
            "node",
            [*arguments, *common],
            ready=NODE_READY,
            log=self.data / "logs" / f"{name.replace(' ', '-')}.log",
            environment={"TESTRING_PROFILE": "local", **self._environment},
        )
        self.children.append(child)
        return child

    def _wait_healthy(self, api: Child) -> None:
        end = time.monotonic() + READY_SECONDS
        last = "no answer"
        with requests.Session() as session:
            session.trust_env = False
            while time.monotonic() < end:
                dead = self.dead()
                if dead is not None:
                    raise CommandError(f"{dead.name} ended ({dead.how_it_ended()}): {dead.last_words()}")
                try:
                    health = session.get(f"{self.url}/health", timeout=2.0)
                    members = session.get(f"{self.url}/network", timeout=2.0)
                    if health.ok and members.ok and len(members.json()) > self._workers:
                        return
                    last = f"/health {health.status_code}, {members.text[:200]}"
                except requests.RequestException as error:
                    last = type(error).__name__
                time.sleep(0.05)
        raise CommandError(
            f"{api.name} was not healthy after {READY_SECONDS:.0f} s ({last}): {api.last_words()}"
        )


def check_free(address: str, what: str) -> None:
    """Nothing, if one can listen there.

    Raises:
        CommandError: the port is taken, or the address is not of this machine.
    """
    host, _, port = address.rpartition(":")
    if port == "0":
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise CommandError(f"{address}: {what} {why}", INTERNAL) from error
