"""A node: one inbox, one loop that asks the core, one table that maps each effect to what does it.

Greenlets (sockets, child processes, disk) only post events. The loop is the single place where the
core's state changes, so nothing here needs a lock.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import signal_handler
from gevent.event import Event as Flag
from gevent.queue import Empty, Queue

from node.answers import Answers
from node.config import Settings
from node.core import effects as fx
from node.core import events as ev
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.environment.environments import Environments
from node.history import History
from node.identity import NodeIdentity
from node.intake import Intake
from node.journal import Journal
from node.net import transfer
from node.net.control import ControlSocket
from node.net.links import Links, listen
from node.net.peer import Peer
from node.net.seeds import Seeds
from node.net.wire import Wire
from node.packages import PackageCache
from node.runner.children import Warden
from node.sessions import Sessions
from node.sources.git import Cloner
from node.spool import Spool
from node.store import Store, StoreError
from node.tickets import Tickets
from node.workspace import Workspace
from proto.handshake import Identity, Role
from proto.liveness import Timing
from proto.messages import AnyMessage, NotMaster, Request, Response

log = logging.getLogger("testring.node")

RETAIN_EVERY = 3600.0
INBOX = 100_000
"""Events waiting for the loop; greenlets that post more wait, which is their back-pressure."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a node is made of beside its connections."""

    warden: Warden
    site: Workspace
    store: Store
    packages: PackageCache
    spool: Spool
    environments: Environments
    cloner: Cloner


class Server:
    """Runs one node until it is stopped."""

    def __init__(self, settings: Settings, identity: NodeIdentity, parts: Parts) -> None:
        self.settings = settings
        self.node = identity.node
        self.store = parts.store
        self.packages = parts.packages
        self.spool = parts.spool
        self._incarnation = secrets.token_hex(8)
        self._started = time.monotonic()
        self._inbox: Queue = Queue(maxsize=INBOX)
        self._stopped = Flag()
        self._failure = ""
        self._epoch = 0
        interval, silence = settings.timing
        self._timing = Timing(ping_interval=interval, silence_after=silence, close_after=silence * 5)
        self._listener = listen(settings.listen)
        self.address = _advertised(settings, self._listener.getsockname())
        self.tickets = Tickets()
        self.links = Links(self._identity, settings.secret(), self._timing, self)
        self._seeds = Seeds(settings, self.links, self.address)
        self.core: ClusterState
        self.intake = Intake(settings, self.post, self.packages, self.spool, parts.cloner)
        self._sessions = Sessions(
            settings, self.post, self.packages, parts.environments, parts.site, parts.warden, self.dial_node
        )
        self.journal = Journal(self.store, lambda: self._epoch, self._committed, self._journal_failed)
        self.answers = Answers(self)
        self.control = ControlSocket(
            settings.socket_dir, self._identity, self._timing, self.answers.answer, self.stream
        )
        self._handlers: dict[type, Callable[[Any], object]] = {
            fx.Append: self.journal.append,
            fx.Send: lambda effect: self.links.send(effect.node, effect.message),
            fx.Answer: self.tickets.resolve,
            fx.Clone: self.intake.clone,
            fx.Recall: History(self.store, self.post).recall,
            fx.StartSession: self._sessions.start,
            fx.RunInSession: self._sessions.run,
            fx.WithdrawInSession: self._sessions.withdraw,
            fx.EndSession: self._sessions.end,
            fx.Disconnect: lambda effect: self.links.disconnect(effect.node, effect.reason),
            fx.Stop: lambda _effect: self._stopped.set(),
        }

    # --- the loop ---------------------------------------------------------------------------

    def post(self, event: ev.AnyEvent) -> None:
        """Put an event into the inbox (from any greenlet)."""
        self._inbox.put(event)

    def run(self) -> int:
        """Serve until stopped; the process's exit code."""
        self.control.listen()
        master = self._seeds.may_found()
        if master:
            self._epoch = self._next_epoch()
        self.core = self._core(master)
        if master:
            self.post(self._replayed())
            self.control.assert_master()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal_handler(number, self._ask_to_stop)
        tasks = [self.journal.run, self.control.serve, lambda: self.links.serve(self._listener), self._retain]
        if not master:
            tasks.append(self._seeds.follow)
        greenlets = [gevent.spawn(task) for task in tasks]
        role = "master" if master else "worker"
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
            wait = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
            try:
                event = self._inbox.get(timeout=wait)
            except Empty:
                event = ev.Tick(at=time.time())
                if self.core.is_master:
                    self.control.assert_master()
            self._handle(event)

    def _handle(self, event: ev.AnyEvent) -> None:
        for effect in self.core.handle(event, time.monotonic()):
            self._handlers[type(effect)](effect)

    def _shut_down(self) -> None:
        """Written sequence: stop listening, end the sessions, write what is queued, part, leave."""
        self._sessions.close()
        self.journal.close()
        self.links.close("stopping")
        self.control.close()
        # The writers need a turn to send their last words.
        gevent.wait(timeout=0.2)
        self.store.close()

    def _retain(self) -> None:
        """Now and then drop what the retention settings do not cover any more."""
        while True:
            try:
                dropped = gevent.get_hub().threadpool.apply(self.store.retain, (time.time(),))
            except StoreError as error:
                log.warning("retention: %s", error)
            else:
                if dropped:
                    log.info("retention: %d packages are no longer referred to", len(dropped))
            gevent.sleep(RETAIN_EVERY)

    def _ask_to_stop(self) -> None:
        log.info("asked to stop")
        self.post(ev.Stopping())
        gevent.spawn_later(self.settings.drain_seconds + 5.0, self._stopped.set)

    # --- parts ------------------------------------------------------------------------------

    def _core(self, master: bool) -> ClusterState:
        cores = os.cpu_count() or 1
        settings = self.settings
        return ClusterState(
            CoreSettings(
                timeout_evaluation=settings.timeout_evaluation,
                max_queue=settings.max_queue,
                drain_seconds=settings.drain_seconds,
            ),
            node=self.node,
            address=self.address,
            slots=(0 if master else cores) if settings.slots < 0 else settings.slots,
            alone=cores if settings.slots < 0 else settings.slots,
            epoch=self._epoch,
            master=master,
        )

    def _next_epoch(self) -> int:
        """Each life of a master is an epoch: assignment ids of a former one never come again."""
        epoch = int(self.store.kept("epoch") or 0) + 1
        self.store.keep("epoch", str(epoch))
        return epoch

    def _replayed(self) -> ev.Replayed:
        records, highest = self.store.replay()
        return ev.Replayed(
            records=tuple(records), highest=highest, position=self.store.last_position(), at=time.time()
        )

    def _identity(self, role: Role) -> Identity:
        return Identity(
            role=role, node=self.node, address=self.address, epoch=self._epoch, incarnation=self._incarnation
        )

    def dial_node(self, node: str) -> Wire:
        peer = self.links.peers.get(node)
        if peer is None:
            raise ConnectionError(f"node {node} is not connected")
        return self.links.dial(peer.identity.address)

    def _committed(self, position: int) -> None:
        self.post(ev.Committed(position=position))

    def _journal_failed(self, error: Exception) -> None:
        self._failure = str(error)
        self._stopped.set()

    # --- what the links tell ------------------------------------------------------------------

    def peer_up(self, peer: Peer) -> None:
        identity = peer.identity
        self.post(ev.PeerUp(node=identity.node, address=identity.address, epoch=identity.epoch))

    def peer_down(self, peer: Peer, evidence: bool, reason: str) -> None:
        log.info("node %s at %s is gone: %s", peer.identity.node, peer.identity.address, reason)
        self.tickets.fail_relayed(peer.identity.node)
        self._seeds.lost()
        self.post(ev.PeerDown(node=peer.identity.node, evidence=evidence, reason=reason))

    def peer_said(self, peer: Peer, message: AnyMessage) -> None:
        if isinstance(message, Request):
            gevent.spawn(lambda: peer.send(self.answers.answer(message)))
        elif isinstance(message, Response):
            self.tickets.relayed(message)
        else:
            if isinstance(message, NotMaster):
                self._seeds.redirect(message.hint)
            self.post(ev.Received(node=peer.identity.node, message=message))

    def stream(self, wire: Wire) -> None:
        """Serve one file stream, of a node or of the API."""
        transfer.serve(
            wire,
            lambda sha256: self.packages.find(sha256) or self.spool.find(sha256),
            self.spool.temporary,
            self.spool.adopt,
            self.settings.max_upload,
        )


def _advertised(settings: Settings, bound: tuple[Any, ...]) -> str:
    """The address others reach this node by."""
    host, port = bound[:2]
    advertised = settings.advertise or settings.listen
    name, colon, given = advertised.rpartition(":")
    if not colon:
        name, given = advertised, "0"
    if given in ("", "0"):
        given = str(port)
    return f"{name or host}:{given}"
