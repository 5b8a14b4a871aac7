"""Package bytes on the disks of those who hold the log: asked for by the master, fetched by each.

A record that names bytes follows the bytes, so the master asks first and appends after.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable

import gevent
from gevent.event import AsyncResult
from gevent.lock import RLock

from node.core import effects as fx
from node.core import events as ev
from node.net import transfer
from node.net.wire import Wire
from node.packages import PackageCache
from node.threads import in_bulk
from proto.messages import AnyMessage, KeepPackages, PackagesKept

log = logging.getLogger("testring.packages")

KEEP_SECONDS = 60.0
"""How long others are given to fetch what they are asked to keep."""


class Keeping:
    """Both sides of ``KeepPackages``.

    Args:
        send: queues a message for a node.
        dial: opens a stream connection to a node.
    """

    def __init__(
        self,
        packages: PackageCache,
        post: Callable[[ev.AnyEvent], None],
        send: Callable[[str, AnyMessage], None],
        dial: Callable[[str], Wire],
    ) -> None:
        self._packages = packages
        self._post = post
        self._send = send
        self._dial = dial
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, AsyncResult[bool]]] = {}
        self._fetching: dict[str, RLock] = {}

    # --- the master's side ------------------------------------------------------------------------

    def spread(self, nodes: Iterable[str], packages: dict[str, int], enough: int) -> frozenset[str]:
        """Have ``nodes`` keep the packages; those that do once ``enough`` do, or the time is over.

        The others go on; the core hears of each when it has all.
        """
        asked = [gevent.spawn(self._ask, node, packages) for node in nodes] if packages else []
        done: set[str] = set()
        with gevent.Timeout(KEEP_SECONDS, False):
            for greenlet in gevent.iwait(asked):
                if greenlet.value:
                    done.add(greenlet.value)
                if len(done) >= enough:
                    break
        return frozenset(done)

    def equip(self, effect: fx.Equip) -> None:
        """Carry out an ``Equip``."""
        if effect.source:
            gevent.spawn(self._bring, effect)
        else:
            gevent.spawn(self._ask, effect.node, effect.packages)

    def _bring(self, effect: fx.Equip) -> None:
        problem = self._fetch_all(effect.source, effect.packages)
        if problem:
            log.warning("the packages of %s could not be fetched: %s", effect.source, problem)
        self._post(ev.Equipped(node=effect.node, packages=frozenset(effect.packages), ok=not problem))

    def _ask(self, node: str, packages: dict[str, int]) -> str:
        """The node, if it keeps them all; empty if it does not."""
        number = next(self._numbers)
        result: AsyncResult[bool] = AsyncResult()
        self._waiting[number] = (node, result)
        self._send(node, KeepPackages(number=number, packages=packages))
        try:
            ok = bool(result.get(timeout=KEEP_SECONDS))
        except gevent.Timeout:
            ok = False
        finally:
            del self._waiting[number]
        self._post(ev.Equipped(node=node, packages=frozenset(packages), ok=ok))
        return node if ok else ""

    def answered(self, node: str, message: PackagesKept) -> None:
        """A node has fetched what it was asked to keep, or could not."""
        asked, result = self._waiting.get(message.number, ("", None))
        if message.problem:
            log.warning("%s does not keep the packages: %s", node, message.problem)
        if result is not None and asked == node:
            result.set(not message.problem)

    def lost(self, node: str) -> None:
        """The node is not connected any more: whoever waits for it need not."""
        for asked, result in list(self._waiting.values()):
            if asked == node:
                result.set(False)

    # --- the other side ---------------------------------------------------------------------------

    def asked(self, node: str, message: KeepPackages) -> None:
        """Fetch what is lacking, in a greenlet, and answer."""
        gevent.spawn(self._keep, node, message)

    def _keep(self, node: str, message: KeepPackages) -> None:
        problem = self._fetch_all(node, message.packages)
        self._send(node, PackagesKept(number=message.number, problem=problem))

    def _fetch_all(self, node: str, packages: dict[str, int]) -> str:
        """Why not, or empty."""
        try:
            for package, size in packages.items():
                self.fetch(node, package, size)
        except (OSError, transfer.TransferError) as error:
            return str(error)[:500]
        return ""

    def fetch(self, node: str, package: str, size: int, seconds: float = KEEP_SECONDS) -> None:
        """Have the package here; several that need it fetch it once.

        Raises:
            TransferError: ``node`` could not give it in time.
        """
        with self._fetching.setdefault(package, RLock()):
            if not self._packages.has(package):
                temporary = self._packages.directory / f"tmp-{package}"
                transfer.fetch(lambda: self._dial(node), package, temporary, limit=size, seconds=seconds)
                in_bulk(self._packages.add, temporary, package)
        self._fetching.pop(package, None)
