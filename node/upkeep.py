"""Now and then: drop what the retention settings do not cover any more."""

from __future__ import annotations

import logging
import time

import gevent

from node.store import Store, StoreError
from node.threads import in_pool

log = logging.getLogger("testring.node")

EVERY = 3600.0
"""Seconds between two looks."""


def run(store: Store) -> None:
    """Look until the greenlet is killed."""
    while True:
        try:
            dropped = in_pool(store.retain, time.time())
        except StoreError as error:
            log.warning("retention: %s", error)
        else:
            if dropped:
                log.info("retention: %d packages are no longer referred to", len(dropped))
        gevent.sleep(EVERY)
