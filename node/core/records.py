"""The log's records: what is durable. Everything the cluster knows follows from them, in order.

A record is a fact, never a wish. The store writes each to the log and to the tables it belongs to
in one transaction; after a restart the records of unfinished evaluations are replayed.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from proto.messages import AssignmentId, Options, Outcome, TestId
from proto.voting import NO_EPOCH, Epoch

Final = Literal["finished", "cancelled", "failed"]


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One project of a submission: a package that is already here, or a URL to clone."""

    name: str
    url: str = ""
    package: str = ""
    size: int = 0
    notes: tuple[str, ...] = ()


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Base of the log's records. ``evaluation`` is 0 for facts about the cluster itself."""

    evaluation: int = 0


class Accepted(Record, frozen=True, kw_only=True):
    """A submission got its id. ``at`` is Unix time in seconds."""

    request: str
    at: float
    name: str = ""
    options: Options = Options()
    projects: tuple[Source, ...] = ()
    token: bool = False
    """Whether a token for private repositories came with it; the token itself is in memory only."""


class Fetched(Record, frozen=True, kw_only=True):
    """A project's package is on disk under its hash."""

    project: int
    package: str
    size: int
    name: str = ""
    notes: tuple[str, ...] = ()


class ProjectFailed(Record, frozen=True, kw_only=True):
    """The project could not be fetched, built or started: one ``error`` verdict, grade 0."""

    project: int
    phase: Literal["fetch", "build", "start"]
    message: str
    log: str = ""


class Listed(Record, frozen=True, kw_only=True):
    """The project's modules, in pytest's order."""

    project: int
    modules: tuple[str, ...]
    command: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    mode: Literal["lazy", "whole"] = "lazy"
    notes: tuple[str, ...] = ()


class Planned(Record, frozen=True, kw_only=True):
    """The tests of one module, in pytest's order. ``replaces`` drops what was planned before,
    verdicts included (an audit found other ids)."""

    project: int
    module: str
    tests: tuple[TestId, ...]
    replaces: bool = False


class Attempted(Record, frozen=True, kw_only=True, gc=False):
    """One attempt at one test. The one with ``final`` is its verdict; there is never a second."""

    project: int
    module: str
    test: TestId
    outcome: Outcome
    final: bool
    node: str = ""
    """Address of the node that ran it; empty when no node did."""
    assignment: AssignmentId | None = None
    at: float = 0.0
    seconds: float = 0.0
    message: str = ""
    traceback: str = ""
    output: str = ""
    reports: tuple[str, ...] = ()
    split_sensitive: bool = False
    unconfirmed: bool = False


class Interrupted(Record, frozen=True, kw_only=True):
    """A test began and its node, or its runner, was lost under it: an attempt without an outcome."""

    project: int
    module: str
    test: TestId
    how: Literal["node", "runner"]
    node: str = ""
    assignment: AssignmentId | None = None
    at: float = 0.0
    message: str = ""


class Settled(Record, frozen=True, kw_only=True):
    """An attempt recorded before becomes the verdict as it stands (confirmation ran out of its
    budget, or a crash was seen twice)."""

    project: int
    module: str
    test: TestId
    outcome: Outcome
    unconfirmed: bool = False


class ProjectEnded(Record, frozen=True, kw_only=True):
    """Every planned test has its verdict."""

    project: int
    state: Final
    audited: bool = False
    confirmed: bool = True
    notes: tuple[str, ...] = ()


class Began(Record, frozen=True, kw_only=True):
    """The evaluation's state went from queued to preparing or from preparing to running."""

    state: Literal["preparing", "running"]
    at: float


class Ended(Record, frozen=True, kw_only=True):
    """The evaluation is over. ``epoch`` is that of the master that said so."""

    state: Final
    at: float
    detail: str = ""
    epoch: Epoch = NO_EPOCH


class Merged(Record, frozen=True, kw_only=True):
    """A part of what ``node`` had committed of this evaluation while it was master beside another one.

    With the ``last`` part it is decided for good: either the ``returned`` side's history is the
    evaluation's from now on, whole, or the ``present`` one's goes on. The other one is kept beside it.
    """

    node: str
    history: str
    part: int
    last: bool
    stands: Literal["present", "returned"]
    body: bytes
    """Of ``encode_past``."""


class Audited(Record, frozen=True, kw_only=True):
    """This package under these options was collected whole; ``dependent`` if its modules' ids
    depend on what else is imported."""

    package: str
    fingerprint: str
    dependent: bool


class Reserved(Record, frozen=True, kw_only=True):
    """Evaluation ids up to ``upto`` are taken, given or not: another master may count among them."""

    upto: int


class Joined(Record, frozen=True, kw_only=True):
    """A node is a member of the cluster, in the order of these records."""

    node: str
    address: str
    incarnation: int
    slots: int
    alone: int = 0
    isolation: str = "process"


class Departed(Record, frozen=True, kw_only=True):
    """A node is a member no more."""

    node: str
    why: Literal["left", "dead", "silent"]


AnyRecord: TypeAlias = (
    Accepted
    | Fetched
    | ProjectFailed
    | Listed
    | Planned
    | Attempted
    | Interrupted
    | Settled
    | ProjectEnded
    | Began
    | Ended
    | Merged
    | Audited
    | Reserved
    | Joined
    | Departed
)

PLANNED_MOST = 2000
"""Tests in one ``Planned`` record: a record must fit into a message to the backups with room to spare."""

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)
Past: TypeAlias = tuple[tuple[int, AnyRecord], ...]
"""(position in the log that it comes from, record)"""
_past_decoder: msgspec.msgpack.Decoder[Past] = msgspec.msgpack.Decoder(Past)


def parts(record: AnyRecord) -> tuple[AnyRecord, ...]:
    """The record, or several that say the same and are small enough to be sent."""
    if not isinstance(record, Planned) or len(record.tests) <= PLANNED_MOST:
        return (record,)
    return tuple(
        msgspec.structs.replace(
            record, tests=record.tests[start : start + PLANNED_MOST], replaces=record.replaces and not start
        )
        for start in range(0, len(record.tests), PLANNED_MOST)
    )


def encode(record: AnyRecord) -> bytes:
    """The msgpack bytes of a record."""
    return _encoder.encode(record)


def decode(data: bytes) -> AnyRecord:
    """The record in ``data``.

    Raises:
        msgspec.DecodeError: not a record this version knows.
    """
    return _decoder.decode(data)


def encode_past(past: Past) -> bytes:
    """The bytes of some records of another log, with their positions there."""
    return _encoder.encode(past)


def decode_past(data: bytes) -> Past:
    """The records in ``data``.

    Raises:
        msgspec.DecodeError: not what ``encode_past`` made.
    """
    return _past_decoder.decode(data)
