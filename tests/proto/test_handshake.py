"""Both sides prove the secret, over exactly this conversation and in this direction."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import msgspec
import pytest

from proto.errors import (
    AuthenticationFailed,
    BadMessage,
    BadVersion,
    LocalProtocolError,
    RemoteProtocolError,
    UnexpectedFrame,
)
from proto.frames import Frame, FrameType, Limits
from proto.handshake import ANSWERS, START, TRANSITIONS, Handshake, Identity, Side, State, proof
from proto.payloads import Challenge, Hello
from tests.proto.pairs import ALICE, BOB, INITIATOR_NONCE, RESPONDER_NONCE, SECRET

WIDE = "\U0001f600" * 256
"""As many characters as a word may have, four bytes each."""


def dialling(
    secret: bytes = SECRET,
    nonce: bytes = INITIATOR_NONCE,
    versions: tuple[int, ...] = (1,),
    local: Identity = ALICE,
) -> Handshake:
    return Handshake(initiator=True, local=local, secret=secret, nonce=nonce, versions=versions)


def dialled(
    secret: bytes = SECRET,
    nonce: bytes = RESPONDER_NONCE,
    versions: tuple[int, ...] = (1,),
    local: Identity = BOB,
) -> Handshake:
    return Handshake(initiator=False, local=local, secret=secret, nonce=nonce, versions=versions)


def take(machine: Handshake, answers: list[tuple[FrameType, bytes]]) -> list[tuple[FrameType, bytes]]:
    """Feed one frame; there is never more than one to feed."""
    ((kind, payload),) = answers
    return machine.receive(Frame(kind, payload))


def complete(left: Handshake, right: Handshake) -> None:
    """Carry frames between the two until neither answers."""
    answers, turn = left.start(), itertools.cycle((right, left))
    while answers:
        answers = take(next(turn), answers)


def changed(payload: bytes, kind: type[msgspec.Struct], **fields: object) -> bytes:
    """The same payload with some fields replaced."""
    return msgspec.msgpack.encode(
        msgspec.structs.replace(msgspec.msgpack.decode(payload, type=kind), **fields)
    )


@pytest.mark.parametrize("secret", [SECRET, b"", b"\0" * 1000])
def test_both_sides_learn_who_the_other_is(secret: bytes) -> None:
    left, right = dialling(secret), dialled(secret)
    complete(left, right)
    assert (left.state, right.state) == (State.DONE, State.DONE)
    assert (left.peer, right.peer) == (BOB, ALICE)
    assert (left.version, right.version) == (1, 1)


def test_the_secret_never_travels() -> None:
    left, right = dialling(), dialled()
    hello = left.start()
    challenge = take(right, hello)
    first = take(left, challenge)
    second = take(right, first)
    sent = b"".join(payload for ((_, payload),) in (hello, challenge, first, second))
    for hidden in (SECRET, hashlib.sha256(SECRET).digest()):
        assert hidden not in sent


def test_the_responder_proves_nothing_to_who_has_not_proved() -> None:
    right = dialled()
    ((kind, payload),) = take(right, dialling().start())
    assert kind is FrameType.CHALLENGE
    assert set(msgspec.msgpack.decode(payload)) == {"version", "nonce", "identity"}


def test_the_proof_is_the_documented_one() -> None:
    expected = hmac.new(
        b"key",
        b"CDProto proof\0\x01initiator\0" + b"\0\0\0\x05hello" + b"\0\0\0\x09challenge",
        hashlib.sha256,
    ).digest()
    assert proof(b"key", Side.INITIATOR, 1, b"hello", b"challenge") == expected


@pytest.mark.parametrize(
    "other",
    [
        (b"another", Side.INITIATOR, 1, b"hello", b"challenge"),
        (b"key", Side.RESPONDER, 1, b"hello", b"challenge"),
        (b"key", Side.INITIATOR, 2, b"hello", b"challenge"),
        (b"key", Side.INITIATOR, 1, b"helloc", b"hallenge"),
        (b"key", Side.INITIATOR, 1, b"challenge", b"hello"),
    ],
)
def test_a_proof_depends_on_all_it_covers(other: tuple[bytes, Side, int, bytes, bytes]) -> None:
    assert proof(b"key", Side.INITIATOR, 1, b"hello", b"challenge") != proof(*other)


@pytest.mark.parametrize(("mine", "its"), [(SECRET, b"another"), (b"", SECRET), (SECRET, b"")])
def test_a_wrong_secret_fails_at_the_responder(mine: bytes, its: bytes) -> None:
    left, right = dialling(mine), dialled(its)
    answer = take(left, take(right, left.start()))
    with pytest.raises(AuthenticationFailed, match="does not hold this cluster's secret"):
        take(right, answer)
    assert right.state is State.AWAIT_PROOF


def test_a_responder_without_the_secret_fails_at_the_initiator() -> None:
    left, right = dialling(), dialled()
    take(left, take(right, left.start()))
    with pytest.raises(AuthenticationFailed):
        left.receive(Frame(FrameType.PROOF, bytes(32)))


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "stream"},
        {"node": "mallory"},
        {"address": "10.6.6.6:7000"},
        {"cluster": "other"},
        {"epoch": 99},
        {"incarnation": "old"},
    ],
)
@pytest.mark.parametrize("whose", ["initiator", "responder"])
def test_a_changed_identity_is_noticed(fields: dict[str, object], whose: str) -> None:
    left, right = dialling(), dialled()
    ((_, hello),) = left.start()
    if whose == "initiator":
        hello = changed(hello, Hello, identity=msgspec.structs.replace(ALICE, **fields))
    ((_, challenge),) = right.receive(Frame(FrameType.HELLO, hello))
    if whose == "responder":
        challenge = changed(challenge, Challenge, identity=msgspec.structs.replace(BOB, **fields))
    answer = left.receive(Frame(FrameType.CHALLENGE, challenge))
    with pytest.raises(AuthenticationFailed):
        take(right, answer)


def test_a_version_taken_out_on_the_way_is_noticed() -> None:
    left, right = dialling(versions=(1, 2)), dialled(versions=(1, 2))
    ((_, hello),) = left.start()
    answer = take(right, [(FrameType.HELLO, changed(hello, Hello, versions=(1,)))])
    with pytest.raises(AuthenticationFailed):
        take(right, take(left, answer))


@pytest.mark.parametrize(
    ("mine", "its", "agreed"), [((1, 2), (2, 3), 2), ((3, 1), (1, 2, 3), 3), ((1,), (1, 2), 1)]
)
def test_the_highest_common_version_is_chosen(
    mine: tuple[int, ...], its: tuple[int, ...], agreed: int
) -> None:
    left, right = dialling(versions=mine), dialled(versions=its)
    complete(left, right)
    assert (left.version, right.version) == (agreed, agreed)


def test_no_common_version() -> None:
    with pytest.raises(BadVersion, match=r"the peer speaks \[1\]; this side speaks \[2, 3\]"):
        take(dialled(versions=(2, 3)), dialling().start())


def test_a_version_that_was_not_offered() -> None:
    left = dialling()
    answer = take(dialled(), left.start())
    with pytest.raises(BadVersion, match=r"the peer chose 7"):
        left.receive(Frame(FrameType.CHALLENGE, changed(answer[0][1], Challenge, version=7)))


def test_reflection_of_the_nonce() -> None:
    left = dialling()
    ((_, hello),) = left.start()
    mirror = Challenge(version=1, nonce=INITIATOR_NONCE, identity=BOB)
    with pytest.raises(AuthenticationFailed, match="own nonce"):
        left.receive(Frame(FrameType.CHALLENGE, msgspec.msgpack.encode(mirror)))
    with pytest.raises(AuthenticationFailed, match="own nonce"):
        dialled(nonce=INITIATOR_NONCE).receive(Frame(FrameType.HELLO, hello))


def test_reflection_of_the_proof() -> None:
    left, right = dialling(), dialled()
    ((_, own),) = take(left, take(right, left.start()))
    with pytest.raises(AuthenticationFailed):
        left.receive(Frame(FrameType.PROOF, own))


def test_replay_against_a_fresh_nonce() -> None:
    left, right = dialling(), dialled()
    hello = left.start()
    answer = take(left, take(right, hello))
    again = dialled(nonce=b"n" * 32)
    take(again, hello)
    with pytest.raises(AuthenticationFailed):
        take(again, answer)


@pytest.mark.parametrize(
    ("side", "state", "kind"),
    [
        key
        for key in itertools.product(Side, State, FrameType)
        if key not in TRANSITIONS and key[1] in {START[key[0]], State.AWAIT_PROOF, State.DONE}
    ],
)
def test_a_missing_transition_is_the_error(side: Side, state: State, kind: FrameType) -> None:
    machine = dialling() if side is Side.INITIATOR else dialled()
    machine.state = state
    with pytest.raises(UnexpectedFrame, match=f"{kind.name} is not allowed in state '{state.value}'"):
        machine.receive(Frame(kind, b""))


def test_the_tables_belong_together() -> None:
    assert {(side, kind) for side, _, kind in TRANSITIONS} == set(ANSWERS) | {
        (Side.INITIATOR, FrameType.PROOF)
    }
    for side in Side:
        reached = {START[side]} | {to for (at, _, _), to in TRANSITIONS.items() if at is side}
        assert reached == {START[side], State.AWAIT_PROOF, State.DONE}


@pytest.mark.parametrize("payload", [b"", b"\x80", b"\xff" * 50, b"\x81\xa8identity\xa1\xff"])
@pytest.mark.parametrize("kind", [FrameType.HELLO, FrameType.CHALLENGE])
def test_unreadable_payloads(kind: FrameType, payload: bytes) -> None:
    machine = dialled() if kind is FrameType.HELLO else dialling()
    with pytest.raises(BadMessage):
        machine.receive(Frame(kind, payload))


@pytest.mark.parametrize(
    "fields", [{"versions": ()}, {"versions": (0,)}, {"versions": (1,) * 17}, {"nonce": bytes(31)}]
)
def test_a_hello_out_of_bounds(fields: dict[str, object]) -> None:
    ((_, hello),) = dialling().start()
    with pytest.raises(RemoteProtocolError) as caught:
        dialled().receive(Frame(FrameType.HELLO, changed(hello, Hello, **fields)))
    assert isinstance(caught.value, BadMessage)


@pytest.mark.parametrize(
    ("nonce", "local", "says"),
    [
        (bytes(31), ALICE, "31 bytes, not 32"),
        (bytes(32), Identity(role="node", node="x" * 257), "would refuse this identity"),
        (bytes(32), Identity(role="boss", node="x"), "would refuse this identity"),  # type: ignore[arg-type]
        (bytes(32), Identity(role="node", node="x", epoch=-1), "would refuse this identity"),
        (
            bytes(32),
            Identity(role="node", node=WIDE, address=WIDE, cluster=WIDE, incarnation=WIDE),
            "bytes of 4096: shorten the identity",
        ),
    ],
)
@pytest.mark.parametrize("initiator", [True, False])
def test_an_identity_that_a_peer_would_refuse(
    nonce: bytes, local: Identity, says: str, initiator: bool
) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        Handshake(initiator=initiator, local=local, secret=b"", nonce=nonce)


def test_the_largest_identity_fits_the_limit_exactly() -> None:
    """What the constructor lets through, the other side's limit lets through as well."""
    need = len(dialling().start()[0][1]) + 16 + 16 + 32
    Handshake(initiator=True, local=ALICE, secret=b"", nonce=INITIATOR_NONCE, limits=Limits(handshake=need))
    with pytest.raises(LocalProtocolError):
        Handshake(
            initiator=True, local=ALICE, secret=b"", nonce=INITIATOR_NONCE, limits=Limits(handshake=need - 1)
        )
