"""Two real connections joined in memory."""

from __future__ import annotations

from proto.connection import Connection, Event
from proto.frames import Limits
from proto.handshake import Identity
from proto.liveness import Timing

SECRET = b"sixteen bytes or more"
ALICE = Identity(role="node", node="alice", address="127.0.0.1:7001", cluster="c", epoch=3, incarnation="i1")
BOB = Identity(role="node", node="bob", address="127.0.0.1:7000", cluster="c", epoch=4, incarnation="i2")


def make(
    initiator: bool, secret: bytes = SECRET, nonce: bytes | None = None, limits: Limits | None = None
) -> Connection:
    """One end: alice dials, bob answers."""
    return Connection(
        initiator=initiator,
        local=ALICE if initiator else BOB,
        secret=secret,
        nonce=nonce or (b"A" if initiator else b"B") * 32,
        now=0.0,
        limits=limits,
        timing=Timing(),
    )


def pump(one: Connection, other: Connection, now: float = 0.0) -> None:
    """Move bytes both ways until neither has any."""
    while True:
        there, back = one.data_to_send(), other.data_to_send()
        if not there and not back:
            return
        for data in there:
            other.receive_data(data, now)
        for data in back:
            one.receive_data(data, now)


def established() -> tuple[Connection, Connection]:
    """Two ends whose handshake is done and whose events were read."""
    one, other = make(True), make(False)
    pump(one, other)
    assert one.established
    assert other.established
    one.events_received()
    other.events_received()
    return one, other


def told(connection: Connection) -> list[Event]:
    """The events since the last call."""
    return connection.events_received()
