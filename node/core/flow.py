"""What follows from an event: fetch, open, deal, audit, end. Only what it has changed is looked at."""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.audit import Audit
from node.core.desk import Desk
from node.core.evaluation import Ledger
from node.core.lifecycle import Lifecycle
from node.core.limits import Limits
from node.core.scheduler import Scheduler
from node.core.work import Work

LOOK = 0.5
"""Seconds between looks at everything: time limits, the audits' budgets, modules that turn out long."""


class Flow:
    """Moves the projects on after each event."""

    def __init__(
        self,
        ledger: Ledger,
        desk: Desk,
        lifecycle: Lifecycle,
        limits: Limits,
        scheduler: Scheduler,
        audit: Audit,
        record: Callable[[rec.AnyRecord], None],
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._lifecycle = lifecycle
        self._limits = limits
        self._scheduler = scheduler
        self._audit = audit
        self._record = record
        self._works: list[Work] = []
        self._version = -1
        self._look_at = 0.0

    def recalled(self, event: ev.Recalled) -> None:
        """How long the modules of a project took the last time."""
        work = self._desk.works.get((event.evaluation, event.project))
        if work is not None:
            work.expected = dict(event.seconds)
            self._scheduler.arrange(work)

    def advance(self, now: float, at: float) -> list[fx.AnyEffect]:
        """Everything that can be decided now; ``at`` is Unix time."""
        desk = self._desk
        look = now >= self._look_at
        woken = look or desk.woken or self._ledger.version != self._version
        if not woken and not desk.touched:
            return []
        effects: list[fx.AnyEffect] = []
        if look:
            self._look_at = now + LOOK
        if woken:
            desk.woken, self._version = False, self._ledger.version
            self._scheduler.refresh()
            effects += self._lifecycle.fetch()
            self._works, questions = self._lifecycle.start(now, at)
            effects += questions
            desk.touched.update(desk.works)
        touched = {key: work for key, work in desk.touched.items() if desk.works.get(key) is work}
        desk.touched.clear()
        effects += self._scheduler.schedule(
            self._works, [work for work in touched.values() if self._runs(work)]
        )
        touched.update(desk.touched)
        for work in touched.values():
            if self._runs(work):
                effects += self._go_on(work, now, at)
        # What was given just now needs no second look.
        desk.touched.clear()
        before = len(desk.works)
        for work in [work for key, work in touched.items() if key not in self._lifecycle.held]:
            effects += self._lifecycle.end_project(work, at, self._audit.settle, self._scheduler.audit_due)
        if woken or len(desk.works) < before:
            self._lifecycle.end_evaluations(at)
        evaluations = self._ledger.evaluations
        ids = list(evaluations) if woken else dict.fromkeys(key[0] for key in touched)
        return effects + self._limits.check([evaluations[id_] for id_ in ids if id_ in evaluations], at)

    def _go_on(self, work: Work, now: float, at: float) -> list[fx.AnyEffect]:
        if work.sessions and work.evaluation.state == "preparing":
            self._record(rec.Began(evaluation=work.evaluation.id, state="running", at=at))
        return self._audit.advance(work, now, self._scheduler.give)

    def _runs(self, work: Work) -> bool:
        lifecycle = self._lifecycle
        held = work.key in lifecycle.held
        return not (held or work.project.state or work.key[0] in lifecycle.cancelling)
