"""What a node finds out by itself where all replicas are started alike: its address, and its health."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from node import advertise, config, health
from tests.support.cluster import Cluster


def test_the_interface_that_leads_to_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"far": "192.0.2.1", "near": "10.1.1.1", "six": "2001:db8::1", "me": "127.0.0.1"}
    own = {"192.0.2.1": "172.18.0.5", "10.1.1.1": "10.1.1.9", "2001:db8::1": "2001:db8::9"}

    def records(place: tuple[str, int]) -> list[tuple[int, tuple[str, int]]]:
        return [(0, (ways[place[0]], place[1]))] if place[0] in ways else []

    monkeypatch.setattr(advertise, "_records", records)
    monkeypatch.setattr(advertise, "_source", lambda family, address: own.get(address[0], address[0]))
    monkeypatch.setattr(socket, "gethostname", lambda: "unknown")
    assert advertise.own_address([("nowhere", 1), ("near", 7000)]) == "10.1.1.9:0"
    assert advertise.own_address([("six", 7000)]) == "[2001:db8::9]:0"
    with pytest.raises(advertise.NoAddress):
        advertise.own_address([("me", 7000)])
    ways["unknown"] = "10.1.1.1"
    assert advertise.own_address([]) == "10.1.1.9:0"


def test_loopback_is_no_address_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertise, "ANYWHERE", ("127.0.0.1", 9))
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    with pytest.raises(config.ConfigError, match="TESTRING_ADVERTISE"):
        config.load(["--join", "127.0.0.1:1", "--advertise", "auto"], {})


def test_sockets_of_this_namespace() -> None:
    table = """Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20001 /run/testring/node-a.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20002 /run/testring/node-a.sock
0000000000000000: 00000002 00000000 00010000 0001 01 20003 /run/other.sock
0000000000000000: 00000002 00000000 00000000 0002 01 20004
"""
    assert health.sockets(table) == [Path("/run/testring/node-a.sock")]


def test_a_node_that_does_not_answer() -> None:
    with tempfile.TemporaryDirectory(prefix="tr-") as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory) / "node-a.sock"
        with pytest.raises(health.Silent, match="No such file"):
            health.ask(path)
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(health.Silent, match=r"node-a\.sock"):
            health.ask(path, seconds=0.2)


@pytest.mark.process
def test_a_node_that_does(cluster: Cluster) -> None:
    listening = health.sockets(Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape"))
    ours = [path for path in listening if path.parent == cluster.embedded._sockets]
    assert len(ours) == 4
    answers = [health.ask(path) for path in ours]
    assert {answer.status for answer in answers} == {200}
    assert all(0.0 <= one.loop_lag["recent_ms"] <= one.loop_lag["largest_ms"] for one in answers), answers
