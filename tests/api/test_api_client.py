"""The node client over a real Unix socket: one connection for all, opened again when it breaks."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakenode import FakeNode

from api.channel import Unsendable
from api.client import NodeClient, NodeUnavailable, TransferRefused
from proto.messages import Abort, GetEvaluation, GetStats, GetTests, Query, SubmitProjects
from tests.support.waiting import until

DEADLINE = 20.0


def echo(query: Query) -> tuple[int, object]:
    assert isinstance(query, GetEvaluation)
    return 200, {"id": query.evaluation}


def test_many_callers_share_one_connection(node: FakeNode, client: NodeClient) -> None:
    node.answer = echo
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda n: client.ask(GetEvaluation(evaluation=n)).body, range(1000)))
    assert answers == [b'{"id":%d}' % n for n in range(1000)]
    assert node.connections == 1


def test_answers_may_come_in_any_order(node: FakeNode, client: NodeClient) -> None:
    """A query that the node works on for long does not hold up the others."""
    node.answer = lambda query: None if query.evaluation == 1 else echo(query)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(client.ask, GetEvaluation(evaluation=1), timeout=1.0)
        assert client.ask(GetEvaluation(evaluation=2)).body == b'{"id":2}'
        with pytest.raises(NodeUnavailable, match="did not answer in time"):
            slow.result(DEADLINE)


def test_connection_cut_while_waiting_is_asked_again(node: FakeNode, client: NodeClient) -> None:
    def cut_once(query: Query) -> tuple[int, object]:
        if len(node.asked) == 1:
            node.drop()
        return echo(query)

    node.answer = cut_once
    assert client.ask(GetEvaluation(evaluation=4)).status == 200
    assert node.asked == [GetEvaluation(evaluation=4)] * 2


def test_connection_cut_twice_is_given_up(node: FakeNode, client: NodeClient) -> None:
    def cut(query: Query) -> None:
        node.drop()

    node.answer = cut
    with pytest.raises(NodeUnavailable, match="broke"):
        client.ask(GetStats())


def test_node_dies_and_returns(node: FakeNode, client: NodeClient, socket_path: Path) -> None:
    node.answer = echo
    assert client.ask(GetEvaluation(evaluation=1)).status == 200
    node.close()
    with pytest.raises(NodeUnavailable, match="no master is reachable"):
        client.ask(GetEvaluation(evaluation=2))
    again = FakeNode(socket_path)
    try:
        again.answer = echo
        assert client.ask(GetEvaluation(evaluation=3)).status == 200
    finally:
        again.close()


def test_another_node_beside_is_tried(client: NodeClient, socket_path: Path) -> None:
    other = FakeNode(socket_path.parent / "node-b.sock")
    try:
        other.answer = echo
        assert client.ask(GetEvaluation(evaluation=1)).status == 200
    finally:
        other.close()


def test_waiting_for_a_master_is_shared(client: NodeClient) -> None:
    """Fifty callers without a master wait about as long as one, not fifty times as long."""
    began = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        failures = [pool.submit(client.ask, GetStats()).exception for _ in range(50)]
        assert all(isinstance(failure(DEADLINE), NodeUnavailable) for failure in failures)
    assert time.monotonic() - began < 5 * client.connect_timeout


def test_silent_node_is_left(client: NodeClient, socket_path: Path) -> None:
    """A stopped process still accepts connections but completes no handshake."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_path))
        listener.listen(16)
        with pytest.raises(NodeUnavailable, match="no master is reachable"):
            client.ask(GetStats())


def test_node_that_falls_silent_is_left_for_another(node: FakeNode, client: NodeClient) -> None:
    """Unanswered pings end the connection long before the deadline of the request."""
    stopped, resume = threading.Event(), threading.Event()

    def stop_once(query: Query) -> tuple[int, object]:
        if not stopped.is_set():
            stopped.set()
            # This thread serves the connection: while it waits, pings stay unanswered.
            resume.wait(DEADLINE)
        return echo(query)

    node.answer = stop_once
    try:
        assert client.ask(GetEvaluation(evaluation=1), timeout=DEADLINE).status == 200
        assert (node.connections, stopped.is_set()) == (2, True)
    finally:
        resume.set()


@pytest.mark.parametrize(
    "query",
    [
        GetTests(evaluation=1, state="x" * 600),
        SubmitProjects(request="r", projects=("u" * 600,)),
        SubmitProjects(request="r", projects=("\ud800",)),
        SubmitProjects(request="r", projects=("u" * 500,) * 10_000),
    ],
    ids=["filter", "url", "surrogate", "frame"],
)
def test_what_does_not_fit_the_protocol_harms_nobody(
    node: FakeNode, client: NodeClient, query: Query
) -> None:
    node.answer = echo
    client.ask(GetEvaluation(evaluation=1))
    with pytest.raises(Unsendable):
        client.ask(query)
    assert client.ask(GetEvaluation(evaluation=2)).status == 200
    assert node.connections == 1


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, (3 << 20) + 17])
def test_store(node: FakeNode, client: NodeClient, size: int) -> None:
    data = os.urandom(size)
    digest = hashlib.sha256(data).hexdigest()
    for source in (io.BytesIO(data), [data[:100], data[100:]]):
        stored = client.store(source)
        assert (stored.sha256, stored.size) == (digest, size)
    assert node.stored == {digest: size}


def test_store_refused(node: FakeNode, client: NodeClient) -> None:
    node.refuse = Abort(code="too-large", reason="at most 5 bytes are taken")
    with pytest.raises(TransferRefused, match="at most 5 bytes") as refused:
        client.store(io.BytesIO(bytes(4 << 20)), size=4 << 20)
    assert refused.value.code == "too-large"


def test_store_without_a_node(client: NodeClient) -> None:
    with pytest.raises(NodeUnavailable):
        client.store(io.BytesIO(b"x"))


def test_close_ends_the_threads(node: FakeNode, client: NodeClient) -> None:
    client.ask(GetStats())
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("control-")]
    assert len(ours) >= 2
    client.close()
    for thread in ours:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_the_path_that_leads_elsewhere_is_followed() -> None:
    """A master that lost its majority stays connected and answers nothing; another one takes the path."""
    with tempfile.TemporaryDirectory(prefix="tr-") as directory:
        link = Path(directory) / "master.sock"
        old, new = (FakeNode(Path(directory) / f"node-{name}.sock") for name in "ab")
        client = NodeClient(link, timeout=DEADLINE)
        try:
            link.symlink_to(old.path.name)
            old.answer = lambda query: None if query.evaluation == 2 else echo(query)
            new.answer = echo
            assert client.ask(GetEvaluation(evaluation=1)).status == 200
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(client.ask, GetEvaluation(evaluation=2))
                until(lambda: len(old.asked) == 2, DEADLINE, "the old one was asked")
                (Path(directory) / "fresh").symlink_to(new.path.name)
                (Path(directory) / "fresh").replace(link)
                assert client.ask(GetEvaluation(evaluation=3)).body == b'{"id":3}'
                assert waiting.result(DEADLINE).body == b'{"id":2}'
            assert sorted(query.evaluation for query in new.asked) == [2, 3]
        finally:
            client.close()
            old.close()
            new.close()
