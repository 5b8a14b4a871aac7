"""Where the nodes live: a namespace each on one switch, so that packets can be dropped, else loopback.

A node that is cut off keeps its addresses, its routes and its connections; nothing it sends arrives
and nothing arrives at it, in either direction, as when a cable is pulled further away.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_PREFIX = "trchaos-"
_NETNS = Path("/run/netns")
_PORT = 7000
_FORWARDING, _DISABLED = "3", "0"


class NetworkError(Exception):
    """The network cannot be made; the message says why."""


class Network(Protocol):
    """``addresses`` is how nodes know each other, ``listens`` where they listen; by the node's number."""

    can_cut: bool
    can_cut_oneway: bool
    addresses: list[str]
    listens: list[str]

    def command(self, node: int, module: str, arguments: Sequence[str]) -> tuple[str, list[str]]: ...
    def cut(self, node: int) -> None: ...
    def cut_oneway(self, node: int, *, mute: bool) -> None: ...
    def heal(self, node: int) -> None: ...
    def close(self) -> None: ...


class Loopback:
    """All nodes on 127.0.0.1: nothing to set up, and nothing that could drop packets."""

    can_cut = can_cut_oneway = False

    def __init__(self, nodes: int) -> None:
        # Held together, so that no port is given twice.
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(nodes)]
        self.addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
        for probe in probes:
            probe.close()
        self.listens = self.addresses

    def command(self, node: int, module: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
        """(module, arguments) that run ``python -m module`` where this node lives."""
        del node
        return module, list(arguments)

    def cut(self, node: int) -> None:
        """Not possible here."""
        raise NetworkError(f"node {node} cannot be cut off on loopback")

    def cut_oneway(self, node: int, *, mute: bool) -> None:
        """Not possible here."""
        raise NetworkError(f"node {node} cannot be {'muted' if mute else 'deafened'} on loopback")

    def heal(self, node: int) -> None:
        """Nothing was cut."""

    def close(self) -> None:
        """Nothing to take down."""


class Namespaces:
    """One network namespace per node, joined by a bridge that lives in a namespace of its own.

    Nothing appears in the machine's own network, so neither its addresses nor its firewall matter.
    Names carry this process's id; what a killed run left behind is swept by the next one.

    Raises:
        NetworkError: no root, no iproute2, or the kernel refuses.
    """

    can_cut = True

    def __init__(self, nodes: int) -> None:
        if os.geteuid() != 0:
            raise NetworkError("network namespaces need root")
        for tool in ("ip", "bridge"):
            if shutil.which(tool) is None:
                raise NetworkError(f"network namespaces need {tool} (package iproute2)")
        sweep()
        self.can_cut_oneway = shutil.which("iptables") is not None
        self.addresses = [f"10.77.0.{node + 1}:{_PORT}" for node in range(nodes)]
        self.listens = self.addresses
        self._names = [f"{_PREFIX}{os.getpid()}-{node}" for node in range(nodes)]
        self._switch = f"{_PREFIX}{os.getpid()}-switch"
        try:
            self._make()
        except NetworkError:
            self.close()
            raise

    def _make(self) -> None:
        for name in (self._switch, *self._names):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", self._switch, "link", "add", "switch", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "switch", "up")
        for node, name in enumerate(self._names):
            pair = ("type", "veth", "peer", "name", f"port{node}", "netns", self._switch)
            _run("ip", "link", "add", "eth0", "netns", name, *pair)
            _run("ip", "-n", self._switch, "link", "set", f"port{node}", "master", "switch", "up")
            host = self.addresses[node].rpartition(":")[0]
            _run("ip", "-n", name, "addr", "add", f"{host}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")

    def command(self, node: int, module: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
        """(module, arguments) that run ``python -m module`` in this node's namespace."""
        return "tests.chaos.inside", [self._names[node], "-m", module, *arguments]

    def python(self, node: int, text: str) -> list[str]:
        """The command line that runs a few lines of Python where this node lives."""
        return [sys.executable, "-m", "tests.chaos.inside", self._names[node], "-c", text]

    def cut(self, node: int) -> None:
        """Drop every packet from and to the node, without a word to either side."""
        self._state(node, _DISABLED)

    def cut_oneway(self, node: int, *, mute: bool) -> None:
        """Drop what the node sends (``mute``) or what is sent to it; the other direction passes."""
        self._filter(node, "-A", *(("OUTPUT", "-o") if mute else ("INPUT", "-i")), "eth0", "-j", "DROP")

    def heal(self, node: int) -> None:
        """Let packets pass again."""
        self._state(node, _FORWARDING)
        if self.can_cut_oneway:
            self._filter(node, "-F")

    def close(self) -> None:
        """Remove the namespaces; processes in them keep theirs until they end."""
        for name in (*self._names, self._switch):
            if (_NETNS / name).exists():
                _run("ip", "netns", "delete", name)

    def _filter(self, node: int, *rule: str) -> None:
        _run("ip", "netns", "exec", self._names[node], "iptables", "-w", *rule)

    def _state(self, node: int, state: str) -> None:
        _run("bridge", "-n", self._switch, "link", "set", "dev", f"port{node}", "state", state)


def sweep() -> None:
    """Remove the namespaces of runs whose process is gone."""
    for entry in _NETNS.glob(f"{_PREFIX}*") if _NETNS.is_dir() else ():
        pid = entry.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path(f"/proc/{pid}").exists():
            _run("ip", "netns", "delete", entry.name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
