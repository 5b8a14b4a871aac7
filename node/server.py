"""A node: one inbox, one loop that asks the core, one table that maps each effect to what does it.

Greenlets (sockets, child processes, disk) only post events. The loop is the single place where the
core's state changes, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import signal_handler
from gevent.event import Event as Flag
from gevent.queue import Empty, Queue

from node import beginning, upkeep
from node.answers import Answers
from node.belonging import Belonging
from node.config import Settings
from node.core import effects as fx
from node.core import events as ev
from node.core.cluster import ClusterState
from node.core.voting_events import Commit, FetchSnapshot, Persist, TruncateTail
from node.history import History
from node.identity import NodeIdentity
from node.intake import Intake
from node.journal import Journal
from node.keeping import Keeping
from node.looplag import LoopLag
from node.net import transfer
from node.net.control import ControlSocket
from node.net.dialling import Dialling
from node.net.links import Links, listen
from node.net.seeds import Seeds
from node.net.wire import Wire
from node.parts import Parts
from node.reception import Reception
from node.returning import Returning
from node.sessions import Sessions
from node.snapshots import Snapshots
from node.store import Written
from node.tickets import Tickets
from proto.handshake import Identity, Role
from proto.liveness import Timing
from proto.messages import HoldToken, KeepPackages, NotMaster, PackagesKept, Request, Response

log = logging.getLogger("testring.node")

INBOX = 100_000
"""Events waiting for the loop; greenlets that post more wait, which is their back-pressure."""


class Server:
    """Runs one node until it is stopped."""

    def __init__(self, settings: Settings, identity: NodeIdentity, parts: Parts) -> None:
        self.settings = settings
        self.node = identity.node
        self._stranger = identity.stranger
        self.store = parts.store
        self.packages = parts.packages
        self.spool = parts.spool
        self._incarnation = int(parts.store.kept("incarnation") or 0) + 1
        parts.store.keep("incarnation", str(self._incarnation))
        self._belonging = Belonging(parts.store)
        self._inbox: Queue = Queue(maxsize=INBOX)
        self._stopped = Flag()
        self.changed = Flag()
        """Set for a moment whenever the master may be another one."""
        self._failure = ""
        self._was_master = False
        timing = settings.timing
        self._liveness = Timing(
            ping_interval=timing.ping, silence_after=timing.suspect, close_after=timing.suspect * 5
        )
        self._listener = listen(settings.listen)
        self.address = beginning.advertised(settings, self._listener.getsockname())
        self.tickets = Tickets()
        self.lag = LoopLag()
        self.core: ClusterState
        reception = Reception(self.post)
        self.links = Links(self._identity, settings.secret(), self._liveness, reception)
        self._seeds = Seeds(
            settings, self.links, self.address, lambda: bool(self.core.master), lambda: self.core.is_master
        )
        self._dialling = Dialling(self.links, self.post, timing.suspect)
        self._keeping = Keeping(self.packages, self.post, self.links.send, self.dial_node)
        self.intake = Intake(
            settings, self.post, self.packages, self.spool, parts.cloner, self._spread, self._entrust
        )
        self._sessions = Sessions(
            settings, self.post, self.packages, parts.environments, parts.site, parts.warden, self._keeping
        )
        self._returning = Returning(self.store, self.post)
        self.journal = Journal(
            self.store, self.post, self._written, self._journal_failed, self._returning.look
        )
        self._snapshots = Snapshots(self.store, identity.directory, self.journal, self.post, self.dial_node)
        self.answers = Answers(self)
        self.control = ControlSocket(
            settings.socket_dir,
            self._identity,
            self._liveness,
            self.answers.answer,
            self.stream,
            settings.socket_group,
        )
        self._receive(reception)
        history = History(self.store, self.post)
        self._handlers: dict[type, Callable[[Any], object]] = {
            Persist: self.journal.put,
            Commit: self.journal.put,
            fx.Load: self.journal.put,
            FetchSnapshot: self._snapshots.fetch,
            TruncateTail: self.journal.put,
            fx.Say: lambda effect: log.info("%s", effect.text),
            fx.Send: lambda effect: self.links.send(effect.node, effect.message),
            fx.Dial: self._dialling.dial,
            fx.Equip: self._keeping.equip,
            fx.Answer: self.tickets.resolve,
            fx.Clone: self.intake.clone,
            fx.Recall: history.recall,
            fx.Compare: history.compare,
            fx.ReadHistory: self._returning.read,
            fx.DropHistory: self._returning.drop,
            fx.StartSession: self._sessions.start,
            fx.RunInSession: self._sessions.run,
            fx.WithdrawInSession: self._sessions.withdraw,
            fx.EndSession: self._sessions.end,
            fx.Disconnect: lambda effect: self.links.disconnect(effect.node, effect.reason),
            fx.Stop: lambda _effect: self._stopped.set(),
        }

    def _receive(self, reception: Reception) -> None:
        """Who takes what the links tell, beside the core."""
        reception.serve = self.stream
        reception.on_cluster = self._belonging.meet
        reception.on_up.append(self._notify)
        reception.on_down += [self.tickets.fail_relayed, self._keeping.lost, self._seeds.lost]
        reception.takes = {
            Request: lambda peer, asked: gevent.spawn(lambda: peer.send(self.answers.answer(asked))),
            Response: lambda _peer, answer: self.tickets.relayed(answer),
            KeepPackages: lambda peer, asked: self._keeping.asked(peer.identity.node, asked),
            PackagesKept: lambda peer, answer: self._keeping.answered(peer.identity.node, answer),
            HoldToken: lambda _peer, token: self.intake.hold(token),
            NotMaster: lambda _peer, told: self._seeds.redirect(told.hint),
        }

    # --- the loop ---------------------------------------------------------------------------

    def post(self, event: ev.AnyEvent) -> None:
        """Put an event into the inbox (from any greenlet)."""
        self._inbox.put(event)

    def serving(self) -> bool:
        """Whether this node is the master and may answer."""
        return self.core.serving(beginning.clock())

    def run(self) -> int:
        """Serve until stopped; the process's exit code."""
        self.control.listen()
        self._returning.look()
        founds = beginning.founds(
            self.settings, self.store, self._seeds, returns=self._returning.waits, stranger=self._stranger
        )
        if founds:
            self.store.found(self.node)
            self._belonging.found()
        self.core = beginning.core(self.settings, self.store, self.node, self.address, self._incarnation)
        self._need(self.store.unfinished_packages())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal_handler(number, self._ask_to_stop)
        tasks = (
            self.lag.run,
            self.journal.run,
            self.control.serve,
            lambda: self.links.serve(self._listener),
            self._seeds.follow,
            lambda: upkeep.run(self.store),
        )
        greenlets = [gevent.spawn(task) for task in tasks]
        role = "master" if founds or self.settings.master else "worker"
        print(
            f"node {self.node} listening on {self.address} socket {self.control.path} role {role}", flush=True
        )
        self._loop()
        self._shut_down()
        gevent.killall(greenlets)
        return 1 if self._failure else 0

    def _loop(self) -> None:
        while not self._stopped.is_set():
            deadline = self.core.next_deadline()
            wait = 1.0 if deadline is None else max(0.0, min(1.0, deadline - beginning.clock()))
            try:
                event = self._inbox.get(timeout=wait)
            except Empty:
                self._tick()
                continue
            self._handle(event)
            # An inbox that is never empty must not keep the timers from being served.
            if deadline is not None and beginning.clock() >= deadline:
                self._tick()

    def _tick(self) -> None:
        # A master that no majority hears must not take the path from the one that came after it.
        if self.serving():
            self.control.assert_master()
        self._handle(ev.Tick(at=time.time()))

    def _handle(self, event: ev.AnyEvent) -> None:
        for effect in self.core.handle(event, beginning.clock()):
            self._handlers[type(effect)](effect)
        if self.core.is_master != self._was_master:
            self._was_master = self.core.is_master
            if self._was_master:
                self.control.assert_master()
            self._notify()

    def _notify(self) -> None:
        self.changed.set()
        self.changed.clear()

    def _shut_down(self) -> None:
        """Written sequence: stop listening, end the sessions, write what is queued, part, leave."""
        self._sessions.close()
        self.journal.close()
        self.links.close("stopping")
        self.control.close()
        # The writers need a turn to send their last words.
        gevent.wait(timeout=0.2)
        self.store.close()

    def _ask_to_stop(self) -> None:
        log.info("asked to stop")
        self.post(ev.Stopping())
        gevent.spawn_later(self.settings.drain_seconds + 5.0, self._stopped.set)

    # --- parts ------------------------------------------------------------------------------

    def _identity(self, role: Role) -> Identity:
        return Identity(
            role=role,
            node=self.node,
            address=self.address,
            cluster=self._belonging.cluster,
            epoch=self.core.epoch if hasattr(self, "core") else 0,
            incarnation=str(self._incarnation),
        )

    def dial_node(self, node: str) -> Wire:
        """A stream connection to a node (errors as ``Links.dial``)."""
        address = self.core.address_of(node)
        if not address:
            raise ConnectionError(f"nobody knows where node {node} is")
        return self.links.dial(address)

    def _spread(self, packages: dict[str, int]) -> frozenset[str]:
        others = self.core.others
        return self._keeping.spread(others, packages, enough=(len(others) + 1) // 2)

    def _entrust(self, token: HoldToken) -> None:
        for node in self.core.others:
            self.links.send(node, token)

    def _written(self, written: Written) -> None:
        self.intake.forget(written.ended)
        if written.packages is not None:
            self._need(written.packages)

    def _need(self, packages: frozenset[str]) -> None:
        self.packages.need(packages | self._returning.packages)

    def _journal_failed(self, error: Exception) -> None:
        log.error("%s", error)
        self._failure = str(error)
        self._stopped.set()

    def stream(self, wire: Wire) -> None:
        """Serve one file stream, of a node or of the API."""
        transfer.serve(
            wire,
            lambda sha256: self.packages.find(sha256) or self.spool.find(sha256),
            self.spool.temporary,
            self.spool.adopt,
            self.settings.max_upload,
            self._snapshots.copy,
        )
