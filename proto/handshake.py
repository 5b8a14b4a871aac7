"""Who is there: version negotiation and mutual challenge-response over the shared secret.

The initiator sends HELLO, the responder CHALLENGE, then both a PROOF: an HMAC over the exact bytes of
HELLO and CHALLENGE, and the name of the side that proves. So a proof covers both nonces, both
identities, the versions offered and chosen, and the direction: it cannot be replayed, reflected,
downgraded or carried over to another connection. The secret never travels. The initiator proves
first, so that whoever merely connects gets nothing to guess the secret from.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from enum import Enum

import msgspec

from proto.errors import AuthenticationFailed, BadVersion, LocalProtocolError, UnexpectedFrame
from proto.frames import HEADER, UNAGREED, Frame, FrameType, Limits
from proto.payloads import NONCE, Challenge, Hello, Identity, Role, read

__all__ = ["NONCE", "TRANSITIONS", "VERSIONS", "Handshake", "Identity", "Role", "Side", "State", "proof"]

VERSIONS = (1,)
"""What this release speaks."""

Answers = list[tuple[FrameType, bytes]]


class Side(Enum):
    """Who dialled."""

    INITIATOR = "initiator"
    RESPONDER = "responder"


class State(Enum):
    """Where a handshake stands."""

    AWAIT_HELLO = "await hello"
    AWAIT_CHALLENGE = "await challenge"
    AWAIT_PROOF = "await proof"
    DONE = "done"


START = {Side.INITIATOR: State.AWAIT_CHALLENGE, Side.RESPONDER: State.AWAIT_HELLO}
"""The initiator has sent its HELLO when it starts to wait."""

TRANSITIONS: dict[tuple[Side, State, FrameType], State] = {
    (Side.RESPONDER, State.AWAIT_HELLO, FrameType.HELLO): State.AWAIT_PROOF,
    (Side.RESPONDER, State.AWAIT_PROOF, FrameType.PROOF): State.DONE,
    (Side.INITIATOR, State.AWAIT_CHALLENGE, FrameType.CHALLENGE): State.AWAIT_PROOF,
    (Side.INITIATOR, State.AWAIT_PROOF, FrameType.PROOF): State.DONE,
}
"""(side, state, frame) -> next state. A missing key is the protocol error."""

ANSWERS: dict[tuple[Side, FrameType], FrameType] = {
    (Side.RESPONDER, FrameType.HELLO): FrameType.CHALLENGE,
    (Side.RESPONDER, FrameType.PROOF): FrameType.PROOF,
    (Side.INITIATOR, FrameType.CHALLENGE): FrameType.PROOF,
}
"""What a side sends when it takes a frame; nothing where there is no key."""


def proof(secret: bytes, side: Side, version: int, hello: bytes, challenge: bytes) -> bytes:
    """The 32 bytes by which ``side`` shows that it holds ``secret`` on this one connection."""
    covered = b"".join(
        (
            b"CDProto proof\0",
            bytes([version]),
            side.value.encode() + b"\0",
            len(hello).to_bytes(4, "big"),
            hello,
            len(challenge).to_bytes(4, "big"),
            challenge,
        )
    )
    return hmac.digest(secret, covered, "sha256")


class Handshake:
    """One side of a handshake.

    Args:
        initiator: this side dialled and speaks first.
        nonce: 32 fresh random bytes.
        versions: what this side speaks, in any order.

    Raises:
        LocalProtocolError: a nonce of another length, or an identity that a peer would refuse.
    """

    def __init__(
        self,
        *,
        initiator: bool,
        local: Identity,
        secret: bytes,
        nonce: bytes,
        versions: tuple[int, ...] = VERSIONS,
        limits: Limits | None = None,
    ) -> None:
        self.side = Side.INITIATOR if initiator else Side.RESPONDER
        self.state = START[self.side]
        self.peer: Identity | None = None
        self.version = UNAGREED
        self._local = local
        self._secret = secret
        self._nonce = nonce
        self._versions = versions
        self._hello = self._checked_hello(limits or Limits())
        self._challenge = b""
        self._actions: dict[FrameType, Callable[[bytes], bytes]] = {
            FrameType.HELLO: self._on_hello,
            FrameType.CHALLENGE: self._on_challenge,
            FrameType.PROOF: self._on_proof,
        }

    def start(self) -> Answers:
        """What to send before anything arrives: the initiator's HELLO."""
        return [(FrameType.HELLO, self._hello)] if self.side is Side.INITIATOR else []

    def receive(self, frame: Frame) -> Answers:
        """Take one frame; what to send in return.

        Raises:
            RemoteProtocolError: not allowed in this state, malformed, no common version, bad proof.
        """
        following = TRANSITIONS.get((self.side, self.state, frame.kind))
        if following is None:
            raise UnexpectedFrame(
                f"{frame.kind.name} is not allowed in state '{self.state.value}' of the {self.side.value}"
            )
        payload = self._actions[frame.kind](frame.payload)
        self.state = following
        answer = ANSWERS.get((self.side, frame.kind))
        return [] if answer is None else [(answer, payload)]

    def _on_hello(self, payload: bytes) -> bytes:
        hello = read(Hello, payload)
        common = set(hello.versions) & set(self._versions)
        if not common:
            raise BadVersion(
                f"the peer speaks {list(hello.versions)}; this side speaks {list(self._versions)}"
            )
        self._meet(hello.identity, hello.nonce, max(common))
        self._hello = payload
        self._challenge = msgspec.msgpack.encode(
            Challenge(version=self.version, nonce=self._nonce, identity=self._local)
        )
        return self._challenge

    def _on_challenge(self, payload: bytes) -> bytes:
        challenge = read(Challenge, payload)
        if challenge.version not in self._versions:
            raise BadVersion(f"the peer chose {challenge.version}; this side speaks {list(self._versions)}")
        self._meet(challenge.identity, challenge.nonce, challenge.version)
        self._challenge = payload
        return self._prove(Side.INITIATOR)

    def _on_proof(self, payload: bytes) -> bytes:
        other = Side.RESPONDER if self.side is Side.INITIATOR else Side.INITIATOR
        if not hmac.compare_digest(payload, self._prove(other)):
            raise AuthenticationFailed("the peer does not hold this cluster's secret")
        return self._prove(self.side)

    def _meet(self, peer: Identity, nonce: bytes, version: int) -> None:
        if nonce == self._nonce:
            raise AuthenticationFailed("the peer sent this side's own nonce back")
        self.peer = peer
        self.version = version

    def _prove(self, side: Side) -> bytes:
        return proof(self._secret, side, self.version, self._hello, self._challenge)

    def _checked_hello(self, limits: Limits) -> bytes:
        if len(self._nonce) != NONCE:
            raise LocalProtocolError(f"the nonce has {len(self._nonce)} bytes, not {NONCE}")
        hello = Hello(versions=self._versions, nonce=self._nonce, identity=self._local)
        payload = msgspec.msgpack.encode(hello)
        try:
            msgspec.msgpack.decode(payload, type=Hello)
        except msgspec.ValidationError as error:
            raise LocalProtocolError(f"a peer would refuse this identity: {error}") from error
        # Either side sends one such frame and a PROOF before it is trusted.
        total = HEADER.size + len(payload) + HEADER.size + 32
        if total > limits.handshake:
            raise LocalProtocolError(
                f"the handshake would take {total} bytes of {limits.handshake}: shorten the identity"
            )
        return payload
