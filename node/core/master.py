"""The master's side: takes events, keeps the ledger, and decides what everybody does next."""

from __future__ import annotations

from collections.abc import Set

from node.core import answers
from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.admission import ABOUT_MEMBERS, Admission
from node.core.audit import Audit
from node.core.checks import check, story
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.failover import blocks
from node.core.flow import Flow
from node.core.gate import Gate, Log
from node.core.handbacks import Handbacks
from node.core.holders import Holders
from node.core.lifecycle import Lifecycle
from node.core.limits import Limits
from node.core.losses import Losses
from node.core.membership import Roster
from node.core.merging import HISTORY, Merging
from node.core.progress import Progress
from node.core.reports import Reports
from node.core.scheduler import Scheduler
from node.core.settings import CoreSettings
from node.core.stealing import Stealing
from node.core.voting_events import BecomeMaster
from proto import messages as m
from proto.messages import AnyMessage, AssignmentId


class Master:
    """Holds the cluster's truth while its epoch lasts.

    Ordering rule: what tells the outside of a record waits behind the gate until it is committed.

    Args:
        announced: this reign.
        replayed: what is committed.
        log: puts records into the replicated log (see ``Gate``).
    """

    def __init__(
        self,
        settings: CoreSettings,
        node: str,
        announced: BecomeMaster,
        replayed: ev.Replayed,
        log: Log,
        *,
        now: float,
    ) -> None:
        self._settings = settings
        self._node = node
        self.epoch = epoch = announced.epoch
        self.isolated = False
        self.ledger = Ledger()
        for record in replayed.records:
            self.ledger.apply(record)
        self.roster = Roster(node, replayed.members)
        self._count = 0
        self._highest = replayed.highest
        self._at = replayed.at
        self._since = now
        self._gate = Gate(self.ledger, log)
        self._record = self._gate.record
        if announced.alone:
            first, upto = blocks(replayed.highest, again=announced.again)
            self._highest = first - 1
            self._record(rec.Reserved(upto=upto))
        self._cancel_tickets: dict[int, list[int]] = {}
        self.holders = Holders(settings, node, self.ledger, self.roster)
        self._desk = desk = Desk()
        self.lifecycle = Lifecycle(settings, epoch, self.ledger, desk, self._record)
        limits = Limits(settings, desk, self.lifecycle, self._record)
        scheduler = Scheduler(self.roster, desk, Stealing(settings), self._number)
        audit = Audit(settings, self._record)
        self._losses = Losses(settings, desk, self._record, audit)
        handbacks = Handbacks(settings, desk, self._losses)
        self._progress = Progress(desk, scheduler, self._losses, handbacks, self._record, self._tell)
        self._flow = Flow(self.ledger, desk, self.lifecycle, limits, scheduler, audit, self._record)
        reports = Reports(self.roster, self.ledger, desk, self.lifecycle, self._losses)
        self.admission = Admission(
            self.epoch, self.roster, self.holders, reports, self._losses, desk, self._record
        )
        self.merging = Merging(
            epoch, self.ledger, desk, self.lifecycle, self.holders, self._record, self._tell
        )
        self.roster.awaited.update(member.node for member in replayed.members)
        self._await_until = now + settings.await_seconds
        self.lifecycle.hold()

    # --- submissions --------------------------------------------------------------------------

    def submit(self, event: ev.Submitted) -> list[fx.AnyEffect]:
        """Give the submission its id, once it is committed."""
        self._at = event.at
        repeated = self.ledger.requests.get(event.request)
        if repeated is not None:
            self._gate.later(answers.accepted(event.ticket, repeated, self.holders.durability))
            return []
        if len(self.ledger.evaluations) >= self._settings.max_queue:
            waiting = f"{self._settings.max_queue} evaluations wait already"
            return [answers.refused(event.ticket, 429, "Queue full", waiting)]
        packages = {source.package for source in event.sources if source.package}
        if not self.holders.noted(packages, event.holders):
            few = "too few of the nodes that hold the log could store the package: try again"
            return [answers.refused(event.ticket, 503, "Not stored", few)]
        self._highest += 1
        self._record(
            rec.Accepted(
                evaluation=self._highest,
                request=event.request,
                at=event.at,
                name=event.name,
                options=event.options,
                projects=event.sources,
                token=event.token,
            )
        )
        self._gate.later(answers.accepted(event.ticket, self._highest, self.holders.durability))
        return []

    def cloned(self, event: ev.Cloned | ev.CloneFailed) -> None:
        """A repository was fetched, or could not be."""
        record: rec.Fetched | rec.ProjectFailed
        if isinstance(event, ev.Cloned) and self.holders.noted({event.package}, event.holders):
            record = rec.Fetched(
                evaluation=event.evaluation,
                project=event.project,
                package=event.package,
                size=event.size,
                notes=event.notes,
            )
        elif isinstance(event, ev.Cloned):
            # Not on enough disks: fetched once more when there are enough.
            self.lifecycle.unfetched(event.evaluation, event.project)
            return
        else:
            record = rec.ProjectFailed(
                evaluation=event.evaluation,
                project=event.project,
                phase="fetch",
                message=event.message,
                log=event.log,
            )
        self.lifecycle.fetched(record)

    def ask(self, event: ev.Asked, now: float, connected: Set[str]) -> list[fx.AnyEffect]:
        """Answer a question that needs live state, or carry out a decision."""
        query = event.query
        if isinstance(query, m.GetNetwork):
            body: object = self.roster.network(connected)
            return [fx.Answer(ticket=event.ticket, status=200, body=body)]
        if isinstance(query, m.GetHealth):
            body = answers.health(
                self._settings, self.epoch, now - self._since, self.roster, self.ledger, self.holders
            )
            return [fx.Answer(ticket=event.ticket, status=200, body=body)]
        if isinstance(query, m.DrainNode):
            return self._drain(event.ticket, query.node)
        if isinstance(query, m.CancelEvaluation):
            return self._cancel(event.ticket, query.evaluation)
        what = type(query).__name__
        return [answers.refused(event.ticket, 400, "Not understood", f"{what} is not for the core")]

    def committed(self, position: int) -> list[fx.AnyEffect]:
        """Everything up to ``position`` is committed: what waited for it may go out."""
        return self._gate.committed(position)

    def abandoned(self) -> list[fx.AnyEffect]:
        """This reign is over: nobody knows what becomes of what was not committed; askers try again."""
        cancelling = [ticket for asked in self._cancel_tickets.values() for ticket in asked]
        return [*self._gate.abandoned(), *(answers.unsettled(ticket) for ticket in cancelling)]

    # --- members ------------------------------------------------------------------------------

    def receive(self, node: str, message: AnyMessage, incarnation: int, now: float) -> list[fx.AnyEffect]:
        """A message of a worker (or of this node's own worker side)."""
        if isinstance(message, ABOUT_MEMBERS):
            return self.admission.receive(node, message, incarnation, now)
        if node in self.roster and node not in self.roster.awaited:
            if isinstance(message, HISTORY):
                return self.merging.receive(node, message)
            return self._progress.said(node, self.roster.address(node), message, self._at)
        return []

    def tick(self, now: float) -> list[fx.AnyEffect]:
        """Members of a former reign that have not been heard of within the limit are not waited for."""
        effects: list[fx.AnyEffect] = []
        if now >= self._await_until and not self.isolated:
            for node in sorted(self.roster.awaited - {self._node}):
                effects += self.admission.bury(node, "silent")
        return effects

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        return self._await_until if self.roster.awaited - {self._node} and not self.isolated else None

    # --- what follows -------------------------------------------------------------------------

    def advance(self, now: float, at: float, connected: Set[str]) -> list[fx.AnyEffect]:
        """Everything that can be decided now; called after each event."""
        self._at = max(self._at, at)
        effects: list[fx.AnyEffect] = []
        if self._gate.sealed:
            return []
        if not self.isolated:
            effects += self.holders.equip(connected)
            if not self.roster.awaited:
                self.lifecycle.release(now)
            effects += self._flow.advance(now, self._at)
        return effects + self._append()

    def recalled(self, event: ev.Recalled) -> None:
        """A question about a project's history was answered."""
        self._flow.recalled(event)

    def idle(self) -> bool:
        """Whether no session is open on any node."""
        return not any(work.sessions for work in self._desk.works.values())

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
        if self._cancel_tickets:
            for evaluation in [e for e in self._cancel_tickets if e not in self.ledger.evaluations]:
                for ticket in self._cancel_tickets.pop(evaluation):
                    self._gate.later(answers.known(ticket, evaluation, "cancelled"))
        return self._gate.flush()

    def _cancel(self, ticket: int, evaluation: int) -> list[fx.AnyEffect]:
        if evaluation not in self.ledger.evaluations:
            self._gate.later(answers.cancelling(ticket, evaluation))
            return []
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
            return [answers.refused(ticket, 404, "Unknown node", f"no node {name} is a member")]
        self.admission.drain(node)
        return [
            fx.Answer(ticket=ticket, status=202, body={"node": node, "state": "draining"}),
            fx.Send(node=node, message=m.Drain()),
        ]

    def _number(self) -> AssignmentId:
        self._count += 1
        return AssignmentId(self.epoch.counter, self.epoch.node, self._count)

    def _tell(self, node: str, message: AnyMessage) -> None:
        self._gate.later(fx.Send(node=node, message=message))
