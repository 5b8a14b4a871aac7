"""Who is there: version negotiation and mutual challenge-response over the shared secret.

Both sides send HELLO (versions, a nonce, who they are) and PROOF, an HMAC over both HELLOs; the
secret never travels. The proofs bind both nonces, both identities, the version and the direction,
so neither can be replayed, reflected or carried over to another connection.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proto.errors import AuthenticationFailed, BadMessage, BadVersion, UnexpectedFrame
from proto.frames import VERSION, Frame, FrameType

Word = Annotated[str, Meta(max_length=256)]
NONCE = 32


Role = Literal["node", "control", "stream"]
"""``node``: control connection between nodes; ``control``: requests; ``stream``: files."""


class Identity(Struct, frozen=True, kw_only=True):
    """What a side says of itself; part of what its proof covers."""

    role: Role
    node: Word
    address: Word = ""
    cluster: Word = ""
    epoch: Annotated[int, Meta(ge=0)] = 0
    incarnation: Word = ""


class Hello(Struct, frozen=True, kw_only=True):
    """Payload of HELLO, as msgpack. The answering side's ``versions`` holds the one it chose."""

    versions: Annotated[tuple[int, ...], Meta(min_length=1, max_length=16)]
    nonce: Annotated[bytes, Meta(min_length=NONCE, max_length=NONCE)]
    identity: Identity


class State(Enum):
    """Where a handshake stands."""

    AWAIT_HELLO = "await hello"
    AWAIT_PROOF = "await proof"
    AWAIT_READY = "await ready"
    DONE = "done"


INITIATOR = "initiator"
RESPONDER = "responder"

TRANSITIONS: dict[tuple[str, State, FrameType], State] = {
    (INITIATOR, State.AWAIT_HELLO, FrameType.HELLO): State.AWAIT_PROOF,
    (INITIATOR, State.AWAIT_PROOF, FrameType.PROOF): State.AWAIT_READY,
    (INITIATOR, State.AWAIT_READY, FrameType.READY): State.DONE,
    (RESPONDER, State.AWAIT_HELLO, FrameType.HELLO): State.AWAIT_PROOF,
    (RESPONDER, State.AWAIT_PROOF, FrameType.PROOF): State.DONE,
}
"""(side, state, frame) -> next state. A missing key is the protocol error."""


class Handshake:
    """One side of a handshake.

    Args:
        initiator: this side dialled and speaks first.
        nonce: 32 fresh random bytes.
    """

    def __init__(self, *, initiator: bool, local: Identity, secret: bytes, nonce: bytes) -> None:
        if len(nonce) != NONCE:
            raise ValueError(f"the nonce has {len(nonce)} bytes, not {NONCE}")
        self.side = INITIATOR if initiator else RESPONDER
        self.state = State.AWAIT_HELLO
        self.peer: Identity | None = None
        self._local = local
        self._secret = secret
        self._nonce = nonce
        self._own_hello = self._pack_hello((VERSION,)) if initiator else b""
        self._peer_hello = b""
        self._actions: dict[FrameType, Callable[[bytes], list[tuple[FrameType, bytes]]]] = {
            FrameType.HELLO: self._on_hello,
            FrameType.PROOF: self._on_proof,
            FrameType.READY: lambda _payload: [],
        }

    def start(self) -> list[tuple[FrameType, bytes]]:
        """What to send before anything arrives: the initiator's HELLO."""
        return [(FrameType.HELLO, self._own_hello)] if self._own_hello else []

    def receive(self, frame: Frame) -> list[tuple[FrameType, bytes]]:
        """Take one frame; what to send in return.

        Raises:
            RemoteProtocolError: not allowed in this state, malformed, no common version, bad proof.
        """
        following = TRANSITIONS.get((self.side, self.state, frame.kind))
        if following is None:
            raise UnexpectedFrame(
                f"{frame.kind.name} is not allowed in state '{self.state.value}' of the {self.side}"
            )
        answers = self._actions[frame.kind](frame.payload)
        self.state = following
        return answers

    def _on_hello(self, payload: bytes) -> list[tuple[FrameType, bytes]]:
        try:
            hello = msgspec.msgpack.decode(payload, type=Hello)
        except msgspec.DecodeError as error:
            raise BadMessage(f"HELLO: {error}") from error
        if VERSION not in hello.versions:
            raise BadVersion(f"the peer speaks {list(hello.versions)}; this side speaks [{VERSION}]")
        if hello.nonce == self._nonce:
            raise AuthenticationFailed("the peer sent this side's own nonce back")
        self.peer = hello.identity
        self._peer_hello = payload
        if self.side == INITIATOR:
            return []
        self._own_hello = self._pack_hello((VERSION,))
        return [(FrameType.HELLO, self._own_hello), (FrameType.PROOF, self._proof(RESPONDER))]

    def _on_proof(self, payload: bytes) -> list[tuple[FrameType, bytes]]:
        other = RESPONDER if self.side == INITIATOR else INITIATOR
        if not hmac.compare_digest(payload, self._proof(other)):
            raise AuthenticationFailed("the peer does not hold this cluster's secret")
        if self.side == INITIATOR:
            return [(FrameType.PROOF, self._proof(INITIATOR))]
        return [(FrameType.READY, b"")]

    def _proof(self, side: str) -> bytes:
        first, second = self._own_hello, self._peer_hello
        if self.side == RESPONDER:
            first, second = second, first
        covered = hashlib.sha256(len(first).to_bytes(4, "big") + first + second).digest()
        return hmac.digest(self._secret, b"CDProto 1 " + side.encode() + covered, "sha256")

    def _pack_hello(self, versions: tuple[int, ...]) -> bytes:
        return msgspec.msgpack.encode(Hello(versions=versions, nonce=self._nonce, identity=self._local))
