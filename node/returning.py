"""Histories that were set aside on this disk: read for the core, which gives them to the master."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.lock import RLock

from node.core import effects as fx
from node.core import events as ev
from node.store import Aside, Store, StoreError
from node.threads import in_pool

Found = TypeVar("Found")

log = logging.getLogger("testring.returning")


class Returning:
    """Reads and drops what waits, one thing at a time.

    Args:
        post: the node's inbox.
    """

    def __init__(self, store: Store, post: Callable[[ev.AnyEvent], None]) -> None:
        self._store = store
        self._post = post
        self._aside: Aside | None = None
        self._turn = RLock()
        self.waits = False
        """Whether anything waits."""
        self.packages: frozenset[str] = frozenset()
        """What is needed to run what waits."""

    def look(self) -> None:
        """Open what waits on this disk, and tell the core; at the start, and when more was set aside.

        Raises:
            StoreError: a file cannot be opened.
        """
        with self._turn:
            if self._aside is not None:
                self._aside.close()
            self._aside = in_pool(self._store.aside)
            offers = tuple(in_pool(self._aside.offers))
        self.waits = bool(offers)
        self.packages = frozenset(package for offer in offers for package in offer.packages)
        if offers:
            log.warning(
                "%d evaluations were committed while there was another master: they go to the cluster's",
                len(offers),
            )
            self._post(ev.Parted(offers=offers))

    def read(self, effect: fx.ReadHistory) -> None:
        """Post ``HistoryRead``; never blocks."""
        gevent.spawn(self._read, effect)

    def _read(self, effect: fx.ReadHistory) -> None:
        asked = (effect.history, effect.evaluation, effect.part)
        try:
            body, last = self._do(lambda aside: aside.part(*asked))
        except (StoreError, LookupError) as error:
            log.error("part %d of evaluation %d cannot be read: %s", effect.part, effect.evaluation, error)
            return
        self._post(
            ev.HistoryRead(
                history=effect.history, evaluation=effect.evaluation, part=effect.part, last=last, body=body
            )
        )

    def drop(self, effect: fx.DropHistory) -> None:
        """The cluster has it; never blocks."""
        gevent.spawn(self._drop, effect)

    def _drop(self, effect: fx.DropHistory) -> None:
        try:
            self._do(lambda aside: aside.drop(effect.history, effect.evaluation))
            self.packages = self._do(lambda aside: aside.packages())
        except (StoreError, LookupError) as error:
            # It is offered again by the next process, and found to be settled.
            log.warning("evaluation %d is still kept aside: %s", effect.evaluation, error)
            return
        log.info("evaluation %d is with the cluster", effect.evaluation)

    def _do(self, what: Callable[[Aside], Found]) -> Found:
        with self._turn:
            return in_pool(what, self._aside)
