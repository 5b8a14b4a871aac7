"""Every typed message of CDProto, as frozen msgspec structs.

A message travels as one msgpack map whose key ``type`` holds the tag (the class name in kebab case).
Unknown keys are ignored, so a newer peer may add fields; a wrong type or an unknown tag is a
``MessageError``. Framing knows nothing of this module and this module knows nothing of framing.
What voters and ring neighbours say to each other is in ``proto.voting``.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from proto import voting
from proto.words import AssignmentId as AssignmentId
from proto.words import Collection as Collection
from proto.words import Count as Count
from proto.words import Message as Message
from proto.words import Name as Name
from proto.words import Outcome as Outcome
from proto.words import Sha256 as Sha256
from proto.words import TestId as TestId
from proto.words import Text as Text

Strategy = Literal["auto", "round-robin", "longest-first", "in-order"]
"""How modules are dealt, always in turn. ``auto``: those known to be long first, the others in pytest's
order; ``longest-first``: all by the time they took before; ``round-robin`` and ``in-order``: in pytest's
order. Sessions with nothing left take work from others, except with ``in-order``."""

Handing = Literal["unbegun", "kept", "tail", "unknown"]
"""Why tests come back, see ``HandedBack``."""


class Options(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a submission may ask for. Field names are those of the HTTP contract."""

    pytest_args: tuple[Text, ...] = ()
    requirements: tuple[Name, ...] = ()
    constraints: tuple[Name, ...] = ()
    extras: tuple[Name, ...] = ()
    groups: tuple[Name, ...] = ()
    python: Name = ""
    env: dict[Name, Text] = {}
    timeout_test: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    """Seconds one test may take; 0 means the node's own default."""
    timeout_evaluation: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    """Seconds the whole evaluation may take; 0 means the node's own default."""
    strategy: Strategy = "auto"
    collection: Collection = "auto"
    slots: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """At most so many slots for one project of this submission; 0 means as many as there are."""
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    """Higher goes first; equal priorities go in order of submission."""
    name: Name = ""
    subdirectory: Name = ""
    ref: Name = ""
    count_skipped: bool = False
    """Keep skipped tests in the denominator of the grade."""


class Member(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node as the master's roster shows it."""

    node: Name
    address: Name
    """``host:port`` of the node's CDProto listener, the name it has in ``/network`` and ``/stats``."""
    slots: Count = 0
    neighbours: tuple[Name, ...] = ()
    """Addresses of the nodes it says it is connected to right now."""
    isolation: Name = "process"
    draining: bool = False
    incarnation: Count = 0
    """Which process of the node, counted on its disk from 1."""
    alone: Count = 0
    """Its slots while it is master and nobody else is a member."""


# --- membership -------------------------------------------------------------------------------


class Join(Message, frozen=True, kw_only=True):
    """To a master, first on every new connection to it: who I am. ``Held``, ``HeldRun`` and ``Reported``
    follow; nothing else is said before the ``Welcome`` that answers them."""

    address: Name
    slots: Count
    alone: Count = 0
    isolation: Name = "process"
    draining: bool = False


class Held(Message, frozen=True, kw_only=True):
    """After ``Join``: a session whose runner lives, or some of whose verdicts are unanswered."""

    session: OpenSession
    opened: bool = False
    closing: bool = False


class HeldRun(Message, frozen=True, kw_only=True):
    """After its ``Held``: an assignment that is not done, or some of whose verdicts are unanswered."""

    run: Run
    answered: Count = 0
    """The number of the first verdict that will be sent again."""


class Reported(Message, frozen=True, kw_only=True):
    """That is all I hold."""


class Welcome(Message, frozen=True, kw_only=True):
    """Master to worker: you are a member. ``void`` lists the sessions to kill first; of the others
    everything that may not have arrived is said again."""

    cluster: Name
    epoch: Count
    void: tuple[AssignmentId, ...] = ()


class NotMaster(Message, frozen=True, kw_only=True):
    """The asked node is not the master; ``hint`` is the address it would ask, or empty."""

    epoch: Count
    hint: Name = ""


class Members(Message, frozen=True, kw_only=True):
    """Master to all: the roster, ordered by join, and who holds the log."""

    epoch: Count
    members: tuple[Member, ...]
    voters: tuple[Name, ...] = ()


class Neighbours(Message, frozen=True, kw_only=True):
    """Node to master: the addresses this node is connected to right now."""

    addresses: tuple[Name, ...]


class Drain(Message, frozen=True, kw_only=True):
    """To a worker: take no more work, hand back what is not started, finish what runs, then leave."""


class Leaving(Message, frozen=True, kw_only=True):
    """Worker to master: I drain; give me nothing more."""


class HoldToken(Message, frozen=True, kw_only=True):
    """Master to its backups, before the submission is in the log: held in memory, for git alone."""

    request: Name
    token: Name
    origin: Name


class KeepPackages(Message, frozen=True, kw_only=True):
    """Master to a node that holds the log, or will: fetch what you lack of these from me, and keep it."""

    number: Count
    """Repeated in the answer."""
    packages: dict[Sha256, Count]
    """Hash -> size in bytes."""


class PackagesKept(Message, frozen=True, kw_only=True):
    """The answer: all of them are verified and on disk; or ``problem`` says why not."""

    number: Count
    problem: Name = ""


class Bye(Message, frozen=True, kw_only=True):
    """Sent before a live node closes a control connection, so that the close is not read as death."""

    reason: Name = ""


# --- work -------------------------------------------------------------------------------------


class OpenSession(Message, frozen=True, kw_only=True):
    """Master to worker: start a pytest session for one project on one slot."""

    session: AssignmentId
    slot: Count
    evaluation: Count
    project: Count
    name: Name
    package: Sha256
    size: Count
    mode: Literal["lazy", "whole"]
    options: Options = Options()
    purpose: Literal["main", "alone", "audit"] = "main"
    """``alone``: one suspect; ``audit``: the whole collection, to compare and to confirm."""


class Run(Message, frozen=True, kw_only=True):
    """Master to worker: one assignment for an open session.

    ``module`` is a name the session listed. ``select`` empty means all its tests; otherwise only
    those (at most 5,000), in the order of the session's own collection. ``module`` empty (whole
    sessions only) means: the selected tests wherever they are, in serial order.
    """

    assignment: AssignmentId
    session: AssignmentId
    module: Name = ""
    select: tuple[TestId, ...] = ()


class Withdraw(Message, frozen=True, kw_only=True):
    """Master to worker: give this assignment, or its tail, back.

    Answered by ``HandedBack``, unless the assignment is over first (``Done`` or ``SessionEnded``).
    """

    assignment: AssignmentId
    tail: bool = False
    """Once it has begun, give back the second half of the tests that have not, if that pays; the
    answer comes when the runner can tell."""


class CloseSession(Message, frozen=True, kw_only=True):
    """Master to worker: nothing more will come; run what is assigned, tear down, end the session."""

    session: AssignmentId
    kill: bool = False
    """Do not wait: end the processes now (cancel, time limit, lost race)."""


class Listing(Message, frozen=True, kw_only=True):
    """Worker to master, whole sessions only: tests of one module, before ``SessionOpened``.

    A large module comes in several listings, in order, of at most 2,000 tests each. A collector
    that failed or was skipped as a whole is listed under its own node id, like a test.
    """

    session: AssignmentId
    module: Name
    tests: tuple[TestId, ...]


class SessionOpened(Message, frozen=True, kw_only=True):
    """Worker to master: the runner is up and has walked the tree."""

    session: AssignmentId
    modules: tuple[Name, ...]
    """In pytest's order."""
    command: tuple[Text, ...] = ()
    """The effective pytest command line, for people."""
    versions: dict[Name, Name] = {}
    notes: tuple[Text, ...] = ()


class Collected(Message, frozen=True, kw_only=True):
    """Worker to master: the tests of one module, before the first of them runs.

    A large module comes in several messages of at most 2,000 tests each; ``last`` ends it. A
    collector that failed or was skipped as a whole is planned under its own node id, like a test,
    and its verdict follows.
    """

    assignment: AssignmentId
    module: Name
    tests: tuple[TestId, ...]
    last: bool = True
    groups: dict[Name, tuple[TestId, ...]] = {}
    """``xdist_group`` marks: these tests are held back until the master says who runs the group."""


class Started(Message, frozen=True, kw_only=True):
    assignment: AssignmentId
    test: TestId


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One attempt's outcome for one test (or for a collector that failed or was skipped)."""

    test: TestId
    outcome: Outcome
    module: Name = ""
    seconds: float = 0.0
    message: Text = ""
    """One line: the assertion, the skip reason, the signal."""
    traceback: Text = ""
    output: Text = ""
    """Captured stdout, stderr and log, bounded head and tail."""
    reports: tuple[Name, ...] = ()
    """What pytest reported on the way: ``setup passed``, ``call failed``, ``subtest passed``..."""


class Verdicts(Message, frozen=True, kw_only=True):
    """Worker to master: outcomes ``first`` ... ``first + len - 1`` of this assignment.

    The worker keeps them until an ``Answered`` covers them.
    """

    assignment: AssignmentId
    first: Count
    verdicts: tuple[Verdict, ...]


class Answered(Message, frozen=True, kw_only=True):
    """Master to worker: everything below ``upto`` is durable (``recorded``) or, where listed,
    ``superseded`` by an earlier verdict."""

    assignment: AssignmentId
    upto: Count
    superseded: tuple[Count, ...] = ()


class Done(Message, frozen=True, kw_only=True):
    """Worker to master: every test of the assignment was run and its verdict sent."""

    assignment: AssignmentId


class HandedBack(Message, frozen=True, kw_only=True):
    """Worker to master: these were not started and will not be.

    ``why`` is ``unbegun``: the assignment had not begun, all of it comes back and it is over. With the
    others it goes on with the rest: ``kept``: it has begun and stays whole; ``tail``: the named tests
    were asked for (none: it does not pay); ``unknown``: the session has no such tests, or (none named)
    no such module. At most 5,000 tests are named.
    """

    assignment: AssignmentId
    tests: tuple[TestId, ...] = ()
    why: Handing = "unbegun"


class SessionEnded(Message, frozen=True, kw_only=True):
    """Worker to master: the runner is gone. ``suspect`` is the test that was running, if it died.

    Assignments of the session without ``Done`` are open again, apart from verdicts already sent.
    """

    session: AssignmentId
    how: Literal["closed", "killed", "died", "timeout", "output", "unbuildable", "unusable", "drained"]
    """``unbuildable``: the environment could not be made; ``unusable``: pytest refused to start."""
    message: Text = ""
    """One line: ``killed by SIGSEGV``, ``called os._exit(3)``, ``time limit of 60 s``, ..."""
    log: Text = ""
    """The build log, pytest's own words, or the stack dump."""
    assignment: AssignmentId | None = None
    suspect: TestId | None = None
    collecting: Name = ""
    """The module that was being collected when the runner died."""


# --- files ------------------------------------------------------------------------------------


class Fetch(Message, frozen=True, kw_only=True):
    """On a stream connection: send me this content from ``offset`` on."""

    sha256: Sha256
    offset: Count = 0


class FetchState(Message, frozen=True, kw_only=True):
    """On a stream connection, to a log-holder: a copy of what your log adds up to, ``upto`` or later."""

    upto: Count


class Store(Message, frozen=True, kw_only=True):
    """On a stream connection: I will send content; name its hash when it is already known."""

    sha256: Sha256 | None = None
    size: Count | None = None


class FileStart(Message, frozen=True, kw_only=True):
    """Sender to receiver before the first chunk (the answer to ``Fetch``)."""

    size: Count | None = None
    offset: Count = 0


class FileEnd(Message, frozen=True, kw_only=True):
    """Sender to receiver after the last chunk."""

    sha256: Sha256
    size: Count


class FileStored(Message, frozen=True, kw_only=True):
    """Receiver to sender: verified and on disk."""

    sha256: Sha256
    size: Count


class Abort(Message, frozen=True, kw_only=True):
    """Either side of a stream: stop, with the reason."""

    code: Name
    reason: Name = ""


# --- the control socket: requests of the API and the command line ---------------------------------


class SubmitArchive(Message, frozen=True, kw_only=True):
    """A zip that was stored before (``Store``), to be opened, checked and evaluated."""

    request: Name
    """Idempotency key: the same key gives the same id."""
    sha256: Sha256
    options: Options = Options()
    filename: Name = ""


class SubmitProjects(Message, frozen=True, kw_only=True):
    """Git URLs. The token is held in memory only."""

    request: Name
    projects: tuple[Name, ...]
    auth_token: Name = ""
    options: Options = Options()


class ListEvaluations(Message, frozen=True, kw_only=True):
    before: Count = 0
    """Only ids below this one; 0 means from the newest."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class GetEvaluation(Message, frozen=True, kw_only=True):
    evaluation: Count


class GetTests(Message, frozen=True, kw_only=True):
    """One page of verdicts, in planned order. ``raw`` asks for the records a report is made of."""

    evaluation: Count
    state: Name = ""
    project: Name = ""
    page: Annotated[int, Meta(ge=1)] = 1
    limit: Annotated[int, Meta(ge=1, le=5000)] = 100


class GetStats(Message, frozen=True, kw_only=True):
    pass


class GetNetwork(Message, frozen=True, kw_only=True):
    pass


class GetHealth(Message, frozen=True, kw_only=True):
    pass


class CancelEvaluation(Message, frozen=True, kw_only=True):
    evaluation: Count


class DrainNode(Message, frozen=True, kw_only=True):
    """By node id or address."""

    node: Name


Query: TypeAlias = (
    SubmitArchive
    | SubmitProjects
    | ListEvaluations
    | GetEvaluation
    | GetTests
    | GetStats
    | GetNetwork
    | GetHealth
    | CancelEvaluation
    | DrainNode
)


class Request(Message, frozen=True, kw_only=True):
    """``id`` is chosen by the asker and repeated in the answer; answers may come in any order."""

    id: Count
    query: Query
    relayed: bool = False
    """Set by a node that passed the request on: it must not be relayed again."""


class Response(Message, frozen=True, kw_only=True):
    """``status`` is an HTTP status; ``body`` is UTF-8 JSON, ready to be sent to a client."""

    id: Count
    status: Annotated[int, Meta(ge=100, le=599)]
    body: bytes = b""
    retry_after: Count = 0


AnyMessage: TypeAlias = (
    Join
    | Held
    | HeldRun
    | Reported
    | Welcome
    | NotMaster
    | Members
    | Neighbours
    | Drain
    | Leaving
    | HoldToken
    | KeepPackages
    | PackagesKept
    | Bye
    | OpenSession
    | Run
    | Withdraw
    | CloseSession
    | Listing
    | SessionOpened
    | Collected
    | Started
    | Verdicts
    | Answered
    | Done
    | HandedBack
    | SessionEnded
    | Fetch
    | FetchState
    | Store
    | FileStart
    | FileEnd
    | FileStored
    | Abort
    | Request
    | Response
    | voting.AppendEntries
    | voting.AppendAnswer
    | voting.InstallSnapshot
    | voting.PreVote
    | voting.Vote
    | voting.VoteAnswer
    | voting.Resigned
    | voting.LeaveVoters
    | voting.Evidence
    | voting.SilenceReport
    | voting.RingPing
    | voting.RingPong
    | voting.SilenceQuestion
    | voting.SilenceOpinion
    | voting.OfferHistory
    | voting.WantHistory
    | voting.History
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """The msgpack bytes of a message."""
    return _encoder.encode(message)


def decode(data: bytes | memoryview) -> AnyMessage:
    """The message in ``data``.

    Raises:
        msgspec.DecodeError: the bytes are not msgpack, or not one of these messages.
    """
    return _decoder.decode(data)
