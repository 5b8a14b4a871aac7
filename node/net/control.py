"""The control socket: CDProto over a Unix socket, for the API and the command line.

The guard is the file system, so the handshake runs with an empty secret: the directory is 0700 and the
socket 0600, or 0750 and 0660 for one group that is told. Every node binds ``node-<id>.sock`` and unlinks
only that; ``master.sock`` is a symlink, replaced by rename, that the master re-asserts.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import gevent
from gevent import socket as gsocket
from gevent.pool import Pool

from node.net.peer import Peer
from node.net.wire import Wire
from proto.errors import ProtocolError
from proto.handshake import Identity, Role
from proto.liveness import Timing
from proto.messages import AnyMessage, Request, Response

log = logging.getLogger("testring.control")

MAX_PATH = 100
"""Bytes of a socket path; the kernel takes 107 and the names must leave room for a rename."""
REQUESTS = 512
"""Requests of one connection that are worked on at once."""


class ControlError(Exception):
    """The socket cannot be made; the message says what to do."""


class ControlSocket:
    """Listens on ``DIRECTORY/node-<id>.sock``.

    Args:
        answer: called in a greenlet of its own for each request; returns its response.
        stream: serves one stream connection (uploads).
        group: a gid that may connect too; None: this node's user alone.
    """

    def __init__(
        self,
        directory: Path,
        identity: Callable[[Role], Identity],
        timing: Timing,
        answer: Callable[[Request], Response],
        stream: Callable[[Wire], None],
        group: int | None = None,
    ) -> None:
        self.directory = directory
        self.path = directory / f"node-{identity('control').node}.sock"
        self._identity = identity
        self._timing = timing
        self._answer = answer
        self._stream = stream
        self._group = group
        self._peers: set[Peer] = set()
        self._socket: gsocket.socket | None = None

    def listen(self) -> None:
        """Bind and listen.

        Raises:
            ControlError: the path is too long, or the directory belongs to somebody else.
        """
        if len(os.fsencode(self.path)) > MAX_PATH:
            raise ControlError(
                f"the socket path {self.path} is longer than {MAX_PATH} bytes: give a shorter --socket-dir"
            )
        try:
            self.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
            owner = self.directory.stat().st_uid
            if owner != os.geteuid():
                raise ControlError(f"{self.directory} belongs to uid {owner}: give another --socket-dir")
            self._guard(self.directory, 0o700, 0o750)
            self.path.unlink(missing_ok=True)
            sock = gsocket.socket(gsocket.AF_UNIX, gsocket.SOCK_STREAM)
            sock.bind(str(self.path))
            self._guard(self.path, 0o600, 0o660)
            sock.listen(128)
        except OSError as error:
            raise ControlError(f"the control socket {self.path} cannot be made: {error.strerror}") from error
        self._socket = sock

    def _guard(self, path: Path, alone: int, shared: int) -> None:
        if self._group is not None:
            os.chown(path, -1, self._group)
        path.chmod(alone if self._group is None else shared)

    def serve(self) -> None:
        """Accept until ``close``."""
        while self._socket is not None:
            try:
                connected, _ = self._socket.accept()
            except OSError as error:
                if self._socket is None or error.errno == errno.EBADF:
                    return
                log.warning("accepting failed: %s", error)
                gevent.sleep(0.1)
                continue
            gevent.spawn(self._greet, connected)

    def assert_master(self) -> None:
        """Make ``master.sock`` point here (idempotent, atomic)."""
        link = self.directory / "master.sock"
        try:
            if os.readlink(link) == self.path.name:
                return
        except OSError:
            log.debug("%s is not a link yet", link)
        fresh = self.directory / f".{self.path.name}.link"
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.path.name)
            fresh.replace(link)
        except OSError as error:
            log.warning("%s cannot be made: %s", link, error)

    def close(self) -> None:
        """Stop listening and remove this node's own socket (and the link, if it points here)."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
        for peer in list(self._peers):
            peer.close("the node stops")
        link = self.directory / "master.sock"
        try:
            if os.readlink(link) == self.path.name:
                link.unlink()
        except OSError:
            log.debug("%s is not ours", link)
        self.path.unlink(missing_ok=True)

    def _greet(self, sock: gsocket.socket) -> None:
        wire = Wire(sock, initiator=False, local=self._identity("control"), secret=b"", timing=self._timing)
        try:
            identity = wire.handshake()
            if identity.role == "stream":
                with wire:
                    self._stream(wire)
                return
        except (ProtocolError, OSError) as error:
            log.info("a control connection ended: %s", error)
            wire.close()
            return
        pool = Pool(REQUESTS)
        peer = Peer(wire, lambda peer, message: self._said(peer, pool, message), self._gone)
        self._peers.add(peer)
        peer.start()

    def _said(self, peer: Peer, pool: Pool, message: AnyMessage) -> None:
        if isinstance(message, Request):
            # A full pool blocks this connection's reader: that is its back-pressure.
            pool.spawn(lambda: peer.send(self._answer(message)))
        else:
            log.warning("%s is not for the control socket", type(message).__name__)

    def _gone(self, peer: Peer, _evidence: bool, reason: str) -> None:
        self._peers.discard(peer)
        log.debug("control connection ended: %s", reason)
