"""What a node begins with: its clock, its address, its core, and whether it founds a cluster."""

from __future__ import annotations

import os
import time
from typing import Any

from node.config import Settings
from node.core.cluster import ClusterState
from node.core.settings import CoreSettings
from node.net.seeds import Seeds
from node.store import Store


def clock() -> float:
    """Seconds that go on while the machine sleeps: what the core's time is."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def founds(settings: Settings, store: Store, seeds: Seeds, *, returns: bool, stranger: bool) -> bool:
    """Whether to found a cluster: told to, on a disk that knows of none, and no seed answers with one.

    Args:
        returns: histories of this disk wait for the cluster that it left.
        stranger: beside this disk, in the same data directory, another node holds a log.
    """
    saved = store.saved()
    knows = returns or saved.base_voters or any(record.voters for record in saved.records)
    return settings.master and not knows and not seeds.answer() and not stranger


def core(settings: Settings, store: Store, node: str, address: str, incarnation: int) -> ClusterState:
    """The core, with what this node's disk holds."""
    cores = os.cpu_count() or 1
    own = settings.slots
    return ClusterState(
        CoreSettings(
            timeout_evaluation=settings.timeout_evaluation,
            max_queue=settings.max_queue,
            drain_seconds=settings.drain_seconds,
            await_seconds=2 * settings.timing.suspect + settings.timing.confirm,
            replicas=settings.replicas,
        ),
        node=node,
        address=address,
        incarnation=incarnation,
        slots=own if own >= 0 else 0 if settings.master else cores,
        alone=own if own >= 0 else cores,
        saved=store.saved(),
        members=tuple(store.replay().members),
        timing=settings.timing,
        now=clock(),
    )


def advertised(settings: Settings, bound: tuple[Any, ...]) -> str:
    """The address others reach this node by; ``bound`` is what it listens on."""
    host, port = bound[:2]
    name, colon, given = (settings.advertise or settings.listen).rpartition(":")
    if not colon:
        name, given = given, "0"
    if given in ("", "0"):
        given = str(port)
    return f"{name or host}:{given}"
