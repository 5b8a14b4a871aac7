"""What the tables know from before, looked up beside the loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from node.core import effects as fx
from node.core import events as ev
from node.store import Store, StoreError
from node.threads import in_pool

log = logging.getLogger("testring.history")


class History:
    """Answers ``Recall`` and ``Compare``.

    Args:
        post: the node's inbox.
    """

    def __init__(self, store: Store, post: Callable[[ev.AnyEvent], None]) -> None:
        self._store = store
        self._post = post

    def recall(self, effect: fx.Recall) -> None:
        """Post ``Recalled``, if anything is known; never blocks."""
        gevent.spawn(self._recall, effect)

    def _recall(self, effect: fx.Recall) -> None:
        try:
            seconds = in_pool(self._store.durations, effect.source)
        except StoreError as error:
            log.warning("durations of %s: %s", effect.source, error)
            return
        if seconds:
            event = ev.Recalled(evaluation=effect.evaluation, project=effect.project, seconds=seconds)
            self._post(event)

    def compare(self, effect: fx.Compare) -> None:
        """Post ``Compared``; never blocks."""
        gevent.spawn(self._compare, effect)

    def _compare(self, effect: fx.Compare) -> None:
        offer = effect.offer
        asked = (offer.evaluation, effect.node, offer.history)
        try:
            found = in_pool(self._store.compared, *asked)
        except StoreError as error:
            log.warning("evaluation %d of %s: %s", offer.evaluation, effect.node, error)
            return
        self._post(
            ev.Compared(
                node=effect.node,
                history=offer.history,
                evaluation=offer.evaluation,
                known=found.known,
                ended=found.ended,
                settled=found.settled,
            )
        )
