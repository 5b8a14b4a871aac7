"""The processes under test: nodes and the HTTP service, and what can be done to them.

Processes end with the *thread* that started them (``cli.children``), so one thread starts them all.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cli.children import Child
from cli.embedded import NODE_READY
from cli.errors import CommandError
from tests.chaos import wheels
from tests.chaos.network import Network
from tests.chaos.services import Service
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
DRAIN_SECONDS = 5
"""When all stop at once there is nobody to hand work to: running tests get only so long."""

State = Literal["up", "starting", "killed", "stopped", "cut"]


@dataclass
class Node:
    """One node, through all its lives; its data and address stay."""

    number: int
    address: str
    state: State = "killed"
    id: str = ""
    lives: int = 0
    child: Child | None = None
    ids: set[str] = field(default_factory=set)
    """Every identity it ever had: one for each disk."""
    disks: int = 1

    @property
    def name(self) -> str:
        return f"n{self.number}"


class Fleet:
    """``nodes`` nodes and one HTTP service.

    Args:
        workers: nodes beside the first one, which founds the cluster.
        profile: of timing; ``TESTRING_PROFILE`` of the nodes.
        slots: of each worker; ``founder_slots``: of the founder.
        apart: each node has its sockets in a directory of its own, and an HTTP service beside it, as on
            machines of their own.
        environment: further settings of all processes.
    """

    def __init__(
        self,
        network: Network,
        *,
        workers: int,
        profile: str = "local",
        slots: int = 1,
        founder_slots: int = 0,
        apart: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Runners have uids of their own: they must reach what is below, so not pytest's tmp_path.
        self.top = Path(tempfile.mkdtemp(prefix="trchaos-"))
        self.top.chmod(0o711)
        self.network = network
        self.nodes = [Node(number, network.addresses[number]) for number in range(workers + 1)]
        self._slots = slots
        self._founder_slots = founder_slots
        self._apart = apart
        self.secret = secrets.token_hex(32).encode()
        self._secret_file = self.top / "secret"
        self._secret_file.write_bytes(self.secret)
        self._secret_file.chmod(0o600)
        self._environment = {
            **wheels.gather(self.top / "wheels"),
            "PYTHONPATH": str(ROOT),
            "TESTRING_PROFILE": profile,
            **(environment or {}),
        }
        self.services = [
            Service(f"api{number or ''}", self.sockets_of(number), self.top, self._environment)
            for number in range(len(self.nodes) if apart else 1)
        ]

    @property
    def service(self) -> Service:
        """The one of all nodes; of the founder, where each has its own."""
        return self.services[0]

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def logs(self) -> Path:
        return self.top / "logs"

    @property
    def sockets(self) -> Path:
        return self.top / "s"

    def sockets_of(self, number: int) -> Path:
        """The control sockets' directory of one node."""
        return self.sockets / str(number) if self._apart else self.sockets

    def start(self) -> None:
        """Start the founder, then the rest and the HTTP service.

        Raises:
            CommandError: a process did not come up.
        """
        self.sockets.mkdir(mode=0o700)
        for number in range(len(self.services)):
            self.sockets_of(number).mkdir(mode=0o700, exist_ok=True)
        for node in self.nodes:
            self.start_node(node)
            if node.number == 0:
                self._await(node)
        for service in self.services:
            service.start()
        for service in self.services:
            service.ready()
        for node in self.nodes[1:]:
            self._await(node)

    def start_node(self, node: Node) -> None:
        """Start a life of the node on its own data; ``ready`` says when it listens."""
        others = ",".join(other.address for other in self.nodes if other is not node)
        arguments = ["--join", others, "--listen", self.network.listens[node.number]]
        if node.number == 0:
            arguments.append("--master")
        arguments += ["--slots", str(self._slots if node.number else self._founder_slots)]
        arguments += ["--data", str(self.top / node.name), "--run-dir", str(self.top / "r" / node.name)]
        arguments += ["--socket-dir", str(self.sockets_of(node.number))]
        arguments += ["--secret-file", str(self._secret_file)]
        arguments += ["--drain-seconds", str(DRAIN_SECONDS)]
        module, arguments = self.network.command(node.number, "node", arguments)
        node.child = Child(
            node.name,
            module,
            arguments,
            ready=NODE_READY,
            log=self.logs / f"{node.name}-{node.lives}.log",
            environment=self._environment,
            cwd=self.top,
        )
        node.lives += 1
        node.state = "starting"

    def ready(self, node: Node) -> bool:
        """Whether a starting node listens by now.

        Raises:
            CommandError: it ended instead.
        """
        assert node.child is not None
        try:
            found = node.child.wait_ready(0.0)
        except CommandError:
            if not node.child.running:
                raise
            return False
        node.id = found["id"]
        node.ids.add(node.id)
        node.state = "up"
        return True

    def kill(self, node: Node) -> float:
        """SIGKILL the node's process; its warden ends what it ran. The moment of it, monotonic."""
        assert node.child is not None
        at = time.monotonic()
        node.child.send(signal.SIGKILL)
        node.child.wait(STOP_SECONDS)
        node.state = "killed"
        return at

    def stop(self, node: Node) -> None:
        """SIGSTOP: its kernel still accepts connections for it."""
        assert node.child is not None
        node.child.send(signal.SIGSTOP)
        node.state = "stopped"

    def resume(self, node: Node) -> None:
        """SIGCONT."""
        assert node.child is not None
        node.child.send(signal.SIGCONT)
        node.state = "up"

    def cut(self, node: Node) -> None:
        """Drop its packets in both directions."""
        self.network.cut(node.number)
        node.state = "cut"

    def cut_oneway(self, node: Node, *, mute: bool) -> None:
        """Drop what it sends (``mute``), or what is sent to it."""
        self.network.cut_oneway(node.number, mute=mute)
        node.state = "cut"

    def wipe(self, node: Node) -> None:
        """A killed node's disk is lost: it starts with an empty data directory, as a new node."""
        shutil.rmtree(self.top / node.name)
        node.disks += 1

    def heal(self, node: Node) -> None:
        """Let its packets pass."""
        self.network.heal(node.number)
        node.state = "up"

    def died(self) -> list[tuple[Node, str]]:
        """Nodes that ended by themselves, and how."""
        return [
            (node, f"{node.child.how_it_ended()}: {node.child.last_words()}")
            for node in self.nodes
            if node.child is not None and node.state != "killed" and not node.child.running
        ]

    def close(self, *, keep: bool) -> list[str]:
        """Stop everything; the names of those that did not stop on SIGTERM. ``keep`` leaves the files."""
        stubborn = []
        children = [
            *(one.child for one in self.services),
            *(node.child for node in self.nodes[1:]),
            self.nodes[0].child,
        ]
        for node in self.nodes:
            if node.state == "stopped":
                self.resume(node)
            elif node.state == "cut":
                self.heal(node)
        for child in children:
            if child is not None:
                child.send(signal.SIGTERM)
        for child in children:
            if child is not None and not child.wait(STOP_SECONDS):
                stubborn.append(child.name)
                child.kill()
        self.network.close()
        if not keep:
            shutil.rmtree(self.top, ignore_errors=True)
        return stubborn

    def _await(self, node: Node) -> None:
        until(lambda: self.ready(node), READY_SECONDS, f"{node.name} listening")
