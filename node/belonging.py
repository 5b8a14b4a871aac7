"""Which cluster this node belongs to: the one it founded, or the first one it met; kept on disk for ever.

Nodes of two clusters that share a secret by accident must not mix their logs: ``Links`` refuses them.
"""

from __future__ import annotations

import secrets

import gevent

from node.store import Store

NAME = "cluster"
"""Under which the store keeps it."""


class Belonging:
    """``cluster`` is empty until one was founded or met."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.cluster = store.kept(NAME) or ""

    def found(self) -> None:
        """This node founds a cluster."""
        self.cluster = secrets.token_hex(8)
        self._store.keep(NAME, self.cluster)

    def meet(self, cluster: str) -> None:
        """An authenticated node says that it belongs to ``cluster`` (empty: to none)."""
        if cluster and not self.cluster:
            self.cluster = cluster
            gevent.get_hub().threadpool.spawn(self._store.keep, NAME, cluster)
