"""Confirming failures and auditing the plan, in one session that collects the whole suite first.

A split can change what a suite sees: modules that other modules import, ids made from what happens
to be imported. So a project that was split is collected once as serial pytest would collect it; ids
are compared with the plan, and whatever differs or failed runs again there. That outcome stands.
"""

from __future__ import annotations

from collections.abc import Callable

from node.core import effects as fx
from node.core import records as rec
from node.core.evaluation import Module
from node.core.pieces import Piece
from node.core.settings import SELECT_MOST, CoreSettings
from node.core.work import Session, Work
from proto import messages as m
from proto.messages import TestId

DEADLY = ("crashed", "timeout", "lost")
"""Verdicts of tests that are not run again for the sake of others."""


class Audit:
    """Works on one project's audit session."""

    def __init__(self, settings: CoreSettings, record: Callable[[rec.AnyRecord], None]) -> None:
        self._settings = settings
        self._record = record

    def advance(
        self, work: Work, now: float, give: Callable[[Work, Session, Piece], fx.AnyEffect]
    ) -> list[fx.AnyEffect]:
        """The next step, if there is one."""
        sessions = work.of("audit")
        if work.queue and len(sessions) == len(work.sessions):
            return [self._give_way(session) for session in sessions if session.opened and not session.closing]
        if work.pieces_left or not work.split:
            return []
        if work.audit_deadline is None:
            ran = now - work.began
            work.audit_deadline = now + max(self._settings.confirm_floor, ran * self._settings.confirm_share)
        if now >= work.audit_deadline and not work.gave_up:
            work.gave_up = "confirming took longer than its share of the run"
            for session in sessions:
                session.closing = True  # so that it is said again if it is lost on the way
            return [fx.Send(node=s.node, message=m.CloseSession(session=s.id, kill=True)) for s in sessions]
        effects: list[fx.AnyEffect] = []
        for session in sessions:
            if not session.opened or session.closing:
                continue
            selected = self._compare(work, session)
            effects += [
                give(work, session, Piece("", tuple(selected[start : start + SELECT_MOST])))
                for start in range(0, len(selected), SELECT_MOST)
            ]
            session.closing = True
            work.audited = True
            effects.append(fx.Send(node=session.node, message=m.CloseSession(session=session.id)))
        return effects

    def _give_way(self, session: Session) -> fx.AnyEffect:
        """Something is to be run again and no slot was free for it: the audit may have the last one."""
        session.closing = True
        return fx.Send(node=session.node, message=m.CloseSession(session=session.id))

    def _compare(self, work: Work, session: Session) -> list[TestId]:
        """Replan what differs; the tests to run, in the whole collection's order."""
        evaluation, project = work.key
        differing: set[str] = set()
        for name in {**work.project.modules, **dict.fromkeys(session.listing)}:
            planned = list(work.project.modules[name].tests) if name in work.project.modules else []
            listed = session.listing.get(name, [])
            if sorted(planned) != sorted(listed) and not self._only_died(work, name):
                differing.add(name)
                self._record(
                    rec.Planned(
                        evaluation=evaluation,
                        project=project,
                        module=name,
                        tests=tuple(listed),
                        replaces=True,
                    )
                )
        self._record(
            rec.Audited(
                evaluation=evaluation,
                package=work.project.package,
                fingerprint=fingerprint(work),
                dependent=bool(differing),
            )
        )
        if differing:
            work.notes.append(
                f"collected whole, other tests were found in: {', '.join(sorted(differing)[:20])}"
            )
        selected: list[TestId] = []
        for name, tests in session.listing.items():
            selected += self._to_confirm(work.project.module(name), tests, cut=name in work.cut)
        return selected

    def _to_confirm(self, module: Module, tests: list[TestId], *, cut: bool) -> list[TestId]:
        """Those without a verdict. If the module was run in parts, those before them as well.

        What a test finds may come from the tests of its module that ran before it, and those ran
        elsewhere. Their own verdicts stand; those that killed their runner are left out.
        """
        waiting = [test for test in tests if test in module.tests and module.tests[test].verdict is None]
        if not (cut and waiting):
            return waiting
        upto = tests[: tests.index(waiting[-1]) + 1]
        return [test for test in upto if test in module.tests and module.tests[test].verdict not in DEADLY]

    def _only_died(self, work: Work, name: str) -> bool:
        """A module whose collection killed its runners has a verdict under its own name; it stands."""
        module = work.project.modules.get(name)
        itself = TestId(name)
        return module is not None and (name, itself) in work.project.deaths and itself in module.tests

    def failed(self, work: Work, message: m.SessionEnded) -> None:
        """The audit's runner is gone before it was done."""
        work.audit_tries += 1
        if work.audit_tries > 1 or message.how in ("killed", "unusable", "unbuildable"):
            work.gave_up = (
                work.gave_up or f"the whole collection ended early: {message.message or message.how}"
            )

    def settle(self, work: Work) -> bool:
        """First outcomes stand where they could not be confirmed; whether all were confirmed."""
        evaluation, project = work.key
        confirmed = True
        for module in work.project.modules.values():
            for test in module.unconfirmed():
                confirmed = False
                outcome = module.tests[test].provisional or "error"
                self._record(
                    rec.Settled(
                        evaluation=evaluation,
                        project=project,
                        module=module.name,
                        test=test,
                        outcome=outcome,
                        unconfirmed=True,
                    )
                )
        return confirmed


def fingerprint(work: Work) -> str:
    """What, beside the package, decides which tests a collection finds."""
    options = work.evaluation.options
    return repr((options.pytest_args, options.python, sorted(options.env.items()), options.requirements))
