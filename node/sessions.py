"""Opening sessions on this node: package, environment, work copy, runner; and cleaning up after.

Each step blocks only the session's own greenlet. A step that fails ends the session with one clear
line; the master decides what follows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
import msgspec

from node.config import Settings
from node.core import effects as fx
from node.core import events as ev
from node.environment.environments import Environment, Environments
from node.environment.errors import BuildError, InterpreterError
from node.keeping import Keeping
from node.net import transfer
from node.packages import PackageCache
from node.runner.children import Warden
from node.runner.supervisor import RunnerSpec, Supervisor
from node.sources.limits import SourceError
from node.threads import in_bulk
from node.workspace import SessionDirs, Workspace
from proto.messages import AnyMessage, AssignmentId, OpenSession, SessionEnded, SessionOpened

log = logging.getLogger("testring.sessions")

FETCH_SECONDS = 60.0


class Sessions:
    """Carries out the worker side's effects.

    Args:
        post: the node's inbox.
        keeping: fetches packages.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[ev.AnyEvent], None],
        packages: PackageCache,
        environments: Environments,
        site: Workspace,
        warden: Warden,
        keeping: Keeping,
    ) -> None:
        self._settings = settings
        self._post = post
        self._packages = packages
        self._environments = environments
        self._site = site
        self._warden = warden
        self._keeping = keeping
        self._supervisor = Supervisor(warden, self._said)
        self._opening: dict[AssignmentId, gevent.Greenlet] = {}
        self._folders: dict[AssignmentId, tuple[SessionDirs, Environment]] = {}

    def start(self, effect: fx.StartSession) -> None:
        """Open a session; ``SessionOpened`` or ``SessionEnded`` is posted in the end."""
        session = effect.open.session
        self._opening[session] = gevent.spawn(self._open, effect.open, effect.master)

    def run(self, effect: fx.RunInSession) -> None:
        """Pass an assignment on to the runner."""
        self._supervisor.run(effect.run)

    def withdraw(self, effect: fx.WithdrawInSession) -> None:
        """Take an assignment back if it has not begun, or its tail."""
        self._supervisor.withdraw(effect.session, effect.assignment, effect.tail)

    def end(self, effect: fx.EndSession) -> None:
        """End a session; one that is still being opened is given up at once."""
        opening = self._opening.pop(effect.session, None)
        if opening is not None:
            opening.kill(block=False)
            self._said(
                effect.session, (SessionEnded(session=effect.session, how="killed", message=effect.why),)
            )
        else:
            self._supervisor.end(effect.session, effect.kill, effect.why)

    def close(self) -> None:
        """Kill every session and wait for the ends of their processes."""
        gevent.killall(list(self._opening.values()))
        self._supervisor.close()
        for session in list(self._folders):
            self._clean(session)

    def _open(self, open_: OpenSession, master: str) -> None:
        session = open_.session
        try:
            spec = self._prepare(open_, master)
        except BuildError as error:
            ended = SessionEnded(session=session, how="unbuildable", message=str(error), log=error.log)
        except (SourceError, InterpreterError, transfer.TransferError, OSError) as error:
            ended = SessionEnded(session=session, how="unusable", message=str(error))
        else:
            self._opening.pop(session, None)
            self._supervisor.open(spec)
            return
        self._opening.pop(session, None)
        self._said(session, (ended,))

    def _prepare(self, open_: OpenSession, master: str) -> RunnerSpec:
        if not self._packages.has(open_.package):
            self._keeping.fetch(master, open_.package, open_.size, FETCH_SECONDS)
        with self._packages.pinned(open_.package) as package:
            environment = self._environments.get(package, open_.package, open_.options)
        try:
            folders = in_bulk(self._site.session_tree, environment.tree, open_.name, open_.slot)
        except BaseException:
            self._environments.release(environment)
            raise
        self._folders[open_.session] = (folders, environment)
        return RunnerSpec(
            session=open_.session,
            mode=open_.mode,
            tree=folders.tree,
            home=folders.home,
            tmp=folders.tmp,
            python=environment.python,
            import_roots=tuple(folders.tree / root for root in environment.import_roots),
            path_prefix=(environment.bin,),
            options=open_.options,
            uid=folders.uid,
            timeout_test=self._settings.timeout_test,
            worker=f"{self._site.node_id}-{open_.slot}",
            base=environment.base,
        )

    def _said(self, session: AssignmentId, messages: tuple[AnyMessage, ...]) -> None:
        if any(isinstance(message, SessionEnded) for message in messages):
            # The slot is free for the next session only when its folders and processes are gone.
            self._clean(session)
        self._post(
            ev.SessionSaid(session=session, messages=tuple(self._noted(session, one) for one in messages))
        )

    def _noted(self, session: AssignmentId, message: AnyMessage) -> AnyMessage:
        """What the environment's build has to say belongs to the session's notes."""
        if isinstance(message, SessionOpened) and session in self._folders:
            notes = self._folders[session][1].notes
            return msgspec.structs.replace(message, notes=(*notes, *message.notes))
        return message

    def _clean(self, session: AssignmentId) -> None:
        if session in self._folders:
            folders, environment = self._folders.pop(session)
            self._site.remove_session(folders, self._warden)
            self._environments.release(environment)
