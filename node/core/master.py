"""The master's side: takes events, keeps the ledger, and decides what everybody does next."""

from __future__ import annotations

from collections import deque

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.answers import accepted, cancelling, health, known, refused
from node.core.audit import Audit
from node.core.checks import check, story
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.flow import Flow
from node.core.handbacks import Handbacks
from node.core.lifecycle import Lifecycle
from node.core.limits import Limits
from node.core.losses import Losses
from node.core.membership import Roster
from node.core.progress import Progress
from node.core.scheduler import Scheduler
from node.core.settings import CoreSettings
from node.core.stealing import Stealing
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId


class Master:
    """Holds the cluster's truth while its epoch lasts.

    Ordering rule: what tells the outside of a record waits in ``_gated`` until it is committed.
    """

    def __init__(self, settings: CoreSettings, node: str, roster: Roster, epoch: int) -> None:
        self._settings = settings
        self._node = node
        self._epoch = epoch
        self.roster = roster
        self.ledger = Ledger()
        self._count = 0
        self._highest = 0
        self._position = 0
        self._at = 0.0
        self._since = 0.0
        self._records: list[rec.AnyRecord] = []
        self._waiting: list[fx.AnyEffect] = []
        self._gated: deque[tuple[int, list[fx.AnyEffect]]] = deque()
        self._cancel_tickets: dict[int, list[int]] = {}
        self._desk = desk = Desk()
        self.lifecycle = Lifecycle(settings, self.ledger, desk, self._record)
        limits = Limits(settings, desk, self.lifecycle, self._record)
        scheduler = Scheduler(roster, desk, Stealing(settings), self._number)
        audit = Audit(settings, self._record)
        self._losses = Losses(settings, desk, self._record, audit)
        handbacks = Handbacks(settings, desk, self._losses)
        self._progress = Progress(desk, scheduler, self._losses, handbacks, self._record, self._tell)
        self._flow = Flow(self.ledger, desk, self.lifecycle, limits, scheduler, audit, self._record)

    # --- what happens -----------------------------------------------------------------------

    def replay(self, event: ev.Replayed, now: float) -> None:
        """Take the records of unfinished evaluations in; they are durable already."""
        for record in event.records:
            self.ledger.apply(record)
        self._highest = event.highest
        self._position = event.position
        self._since = now
        self._at = event.at

    def submit(self, event: ev.Submitted) -> list[fx.AnyEffect]:
        """Give the submission its id, once it is durable."""
        self._at = event.at
        repeated = self.ledger.requests.get(event.request)
        if repeated is not None:
            self._waiting.append(accepted(event.ticket, repeated))
            return []
        if len(self.ledger.evaluations) >= self._settings.max_queue:
            return [
                refused(
                    event.ticket, 429, "Queue full", f"{self._settings.max_queue} evaluations wait already"
                )
            ]
        self._highest += 1
        self._record(
            rec.Accepted(
                evaluation=self._highest,
                request=event.request,
                at=event.at,
                name=event.name,
                options=event.options,
                projects=event.sources,
            )
        )
        self._waiting.append(accepted(event.ticket, self._highest))
        return []

    def cloned(self, event: ev.Cloned | ev.CloneFailed) -> None:
        """A repository was fetched, or could not be."""
        record: rec.Fetched | rec.ProjectFailed
        if isinstance(event, ev.Cloned):
            record = rec.Fetched(
                evaluation=event.evaluation,
                project=event.project,
                package=event.package,
                size=event.size,
                notes=event.notes,
            )
        else:
            record = rec.ProjectFailed(
                evaluation=event.evaluation,
                project=event.project,
                phase="fetch",
                message=event.message,
                log=event.log,
            )
        self.lifecycle.fetched(record)

    def ask(self, event: ev.Asked, now: float) -> list[fx.AnyEffect]:
        """Answer a question that needs live state, or carry out a decision."""
        query = event.query
        if isinstance(query, m.GetNetwork):
            return [fx.Answer(ticket=event.ticket, status=200, body=self.roster.network())]
        if isinstance(query, m.GetHealth):
            body = health(
                self._settings, self._node, self._epoch, now - self._since, self.roster, self.ledger
            )
            return [fx.Answer(ticket=event.ticket, status=200, body=body)]
        if isinstance(query, m.DrainNode):
            return self._drain(event.ticket, query.node)
        if isinstance(query, m.CancelEvaluation):
            return self._cancel(event.ticket, query.evaluation)
        return [refused(event.ticket, 400, "Not understood", f"{type(query).__name__} is not for the core")]

    def committed(self, position: int) -> list[fx.AnyEffect]:
        """Everything up to ``position`` is durable: what waited for it may go out."""
        effects: list[fx.AnyEffect] = []
        while self._gated and self._gated[0][0] <= position:
            effects += self._gated.popleft()[1]
        return effects

    def lost(self, node: str) -> list[fx.AnyEffect]:
        """A member's connection is gone: its work goes elsewhere."""
        if not self.roster.leave(node):
            return []
        self._desk.wake()
        for work in self.lifecycle.works.values():
            for session in [session for session in work.sessions.values() if session.node == node]:
                self._losses.node_lost(work, session)
        return self._announce()

    def receive(self, node: str, message: AnyMessage) -> list[fx.AnyEffect]:
        """A message of a worker (or of this node's own worker side)."""
        if isinstance(message, m.Join):
            self.roster.join(node, message)
            self._desk.wake()
            # Its work was given to others when its connection was lost.
            void = tuple(held for held in message.holding if not self._desk.holds(held))
            return [
                fx.Send(node=node, message=m.Welcome(cluster="", epoch=self._epoch, void=void)),
                *self._announce(),
            ]
        if isinstance(message, m.Neighbours):
            self.roster.neighbours(node, message.addresses)
            return []
        if isinstance(message, m.Bye):
            if node in self.roster and node != self._node:
                self.roster.drain(node)
                self._desk.wake()
            return []
        return self._progress.said(node, self.roster.address(node), message, self._at)

    def recalled(self, event: ev.Recalled) -> None:
        """A question about a project's history was answered."""
        self._flow.recalled(event)

    # --- what follows -----------------------------------------------------------------------

    def advance(self, now: float, at: float) -> list[fx.AnyEffect]:
        """Everything that can be decided now; called after each event."""
        self._at = max(self._at, at)
        return self._flow.advance(now, self._at) + self._append()

    def validate(self) -> None:
        """Check everything against everything; for tests.

        Raises:
            AssertionError: it does not agree; the message ends with the project's story.
        """
        check(self._desk, self.ledger, self.roster)

    def story(self, evaluation: int) -> str:
        """What happened to the sessions and assignments of an evaluation, one line each."""
        return story(self._desk, evaluation)

    def _append(self) -> list[fx.AnyEffect]:
        """Hand the new records to the log, and hold back what tells of them."""
        for evaluation in [e for e in self._cancel_tickets if e not in self.ledger.evaluations]:
            for ticket in self._cancel_tickets.pop(evaluation):
                self._waiting.append(known(ticket, evaluation, "cancelled"))
        waiting, self._waiting = self._waiting, []
        if not self._records:
            if not waiting:
                return []
            if not self._gated:
                return waiting
            self._gated[-1][1].extend(waiting)
            return []
        records, self._records = tuple(self._records), []
        self._position += len(records)
        self._gated.append((self._position, waiting))
        return [fx.Append(records=records, position=self._position)]

    def _cancel(self, ticket: int, evaluation: int) -> list[fx.AnyEffect]:
        if evaluation not in self.ledger.evaluations:
            return [cancelling(ticket, evaluation)]
        self._cancel_tickets.setdefault(evaluation, []).append(ticket)
        self.lifecycle.cancelling.add(evaluation)
        self._desk.wake()
        effects: list[fx.AnyEffect] = []
        for key, work in list(self.lifecycle.works.items()):
            if key[0] == evaluation:
                work.queue.clear()
                work.gave_up = "cancelled"
                if not work.sessions:
                    del self.lifecycle.works[key]
                effects += [
                    fx.Send(node=session.node, message=m.CloseSession(session=session.id, kill=True))
                    for session in work.sessions.values()
                ]
        return effects

    def _drain(self, ticket: int, name: str) -> list[fx.AnyEffect]:
        node = self.roster.find(name)
        if node is None:
            return [refused(ticket, 404, "Unknown node", f"no node {name} is a member")]
        if node == self._node:
            return [
                refused(ticket, 409, "Not drained", "the master cannot be drained while it is the master")
            ]
        self.roster.drain(node)
        self._desk.wake()
        return [
            fx.Answer(ticket=ticket, status=202, body={"node": node, "state": "draining"}),
            fx.Send(node=node, message=m.Drain()),
        ]

    def _announce(self) -> list[fx.AnyEffect]:
        message = self.roster.message(self._epoch)
        return [fx.Send(node=node, message=message) for node in self.roster.nodes() if node != self._node]

    def _number(self) -> AssignmentId:
        self._count += 1
        return AssignmentId(self._epoch, self._node, self._count)

    def _record(self, record: rec.AnyRecord) -> None:
        self.ledger.apply(record)
        self._records.append(record)

    def _tell(self, node: str, message: AnyMessage) -> None:
        self._waiting.append(fx.Send(node=node, message=message))
