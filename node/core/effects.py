"""What a node wants done. ``ClusterState.handle`` returns these; the shell carries them out.

Ordering rule: effects are carried out in the order of the list. ``Persist`` and ``Commit`` go to one
writer, in order. What tells the outside of a record (``Answer``, ``Send`` of ``Answered``) is returned
by ``handle`` only after ``Committed`` said that the record is on the disks of a majority of the voters.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from node.core.voting_events import Commit, FetchSnapshot, Persist, TruncateTail
from proto.messages import AnyMessage, AssignmentId, OpenSession, Options, Run
from proto.voting import Epoch, OfferHistory


class Effect(Struct, frozen=True, kw_only=True):
    """Base of the effects."""


class Load(Effect, frozen=True, kw_only=True):
    """This node is master of ``epoch``: once every ``Commit`` before is in the tables, read what they
    hold; ends with ``Replayed``."""

    epoch: Epoch


class Say(Effect, frozen=True, kw_only=True):
    """One line for the node's log: a change that people look for there."""

    text: str


class Dial(Effect, frozen=True, kw_only=True):
    """Try once to reach a node; ends with ``Dialled`` (and ``PeerUp`` if it answered)."""

    node: str
    address: str


class Equip(Effect, frozen=True, kw_only=True):
    """Have these packages on the disk of a node that holds the log, or is to; ends with ``Equipped``."""

    node: str
    packages: dict[str, int]
    """Hash -> size in bytes."""
    source: str = ""
    """``node`` is this one: the node to fetch them from."""


class Compare(Effect, frozen=True, kw_only=True):
    """Look up what the tables know of the evaluation that ``node`` offers; ends with ``Compared``."""

    node: str
    offer: OfferHistory


class ReadHistory(Effect, frozen=True, kw_only=True):
    """Read a part of one of the histories that were ``Parted``; ends with ``HistoryRead``."""

    history: str
    evaluation: int
    part: int


class DropHistory(Effect, frozen=True, kw_only=True):
    """The cluster has this evaluation's history: it need not be kept aside any more."""

    history: str
    evaluation: int


class Send(Effect, frozen=True, kw_only=True):
    """Queue a message for a peer. A peer that is gone loses it."""

    node: str
    message: AnyMessage


class Answer(Effect, frozen=True, kw_only=True):
    """Answer the request behind ``ticket``. ``body`` is a JSON-able value; None: this node is not, or no
    longer, the master, and the request goes to the one that is."""

    ticket: int
    status: int
    body: object
    retry_after: int = 0


class Clone(Effect, frozen=True, kw_only=True):
    """Fetch a git project and pack it; ends with ``Cloned`` or ``CloneFailed``.

    The token is not here: the shell holds it in memory under the submission's request id. ``token``
    says that there was one: without it the project cannot be fetched any more.
    """

    evaluation: int
    project: int
    url: str
    options: Options
    request: str
    token: bool = False


class Recall(Effect, frozen=True, kw_only=True):
    """Look up how long this project's modules took before; may end with ``Recalled``.

    ``source`` is its URL, or an upload's name.
    """

    evaluation: int
    project: int
    source: str


class StartSession(Effect, frozen=True, kw_only=True):
    """Worker side: package, environment, work copy, runner; ends with ``SessionSaid``
    (``SessionOpened`` or ``SessionEnded``)."""

    open: OpenSession
    master: str
    """Node id of the master to fetch the package from."""


class RunInSession(Effect, frozen=True, kw_only=True):
    """Worker side: pass the assignment on to the runner."""

    run: Run


class WithdrawInSession(Effect, frozen=True, kw_only=True):
    """Worker side: take it back if it has not begun, or (``tail``) some of it; the runner answers
    ``HandedBack``."""

    session: AssignmentId
    assignment: AssignmentId
    tail: bool = False


class EndSession(Effect, frozen=True, kw_only=True):
    """Worker side: no more assignments (``kill`` false), or end the processes now."""

    session: AssignmentId
    kill: bool
    why: str = ""


class Disconnect(Effect, frozen=True, kw_only=True):
    """Close the control connection to a peer, after what is queued was sent."""

    node: str
    reason: str


class Stop(Effect, frozen=True, kw_only=True):
    """This node is done and may exit."""


AnyEffect: TypeAlias = (
    Persist
    | Commit
    | FetchSnapshot
    | TruncateTail
    | Load
    | Say
    | Dial
    | Equip
    | Compare
    | ReadHistory
    | DropHistory
    | Send
    | Answer
    | Clone
    | Recall
    | StartSession
    | RunInSession
    | WithdrawInSession
    | EndSession
    | Disconnect
    | Stop
)
