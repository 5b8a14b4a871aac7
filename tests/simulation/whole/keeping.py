"""Packages on the disks of simulated nodes, as ``node/keeping`` and ``node/intake`` bring them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.core import effects as fx
from node.core import events as ev
from tests.simulation.whole.process import Process

if TYPE_CHECKING:
    from tests.simulation.whole.world import World


class Keeping:
    """One for the whole world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def spread(self, process: Process, packages: set[str]) -> frozenset[str]:
        """Have those who hold the log keep these packages; those that do."""
        process.disk.packages |= packages
        holders = {node for node in process.core.others if packages and self._keeps(process, node, packages)}
        for node in holders:
            self.equipped(process, node, packages, ok=True)
        return frozenset(holders)

    def equipped(self, process: Process, node: str, packages: set[str], *, ok: bool) -> None:
        """Tell the core that somebody keeps packages."""
        self._world.tell(process, ev.Equipped(node=node, packages=frozenset(packages), ok=ok))

    def _keeps(self, process: Process, node: str, packages: set[str]) -> bool:
        other = self._world.processes[node]
        if not other.awake or self._world.wires.of(process.name, node) is None:
            return False
        if not packages <= process.disk.packages:
            return False
        other.disk.packages |= packages
        return True

    def equip(self, process: Process, effect: fx.Equip) -> None:
        """Carry out an ``Equip``."""
        if not process.alive:
            return
        packages = set(effect.packages)
        if effect.source:
            ok = self._gives(process, effect.source, packages)
        else:
            ok = self._keeps(process, effect.node, packages)
        self.equipped(process, effect.node, packages, ok=ok)

    def _gives(self, process: Process, source: str, packages: set[str]) -> bool:
        """Fetch packages from another node, or find them here."""
        other = self._world.processes[source]
        reachable = other.awake and self._world.wires.of(process.name, source) is not None
        if not packages <= process.disk.packages and not (reachable and packages <= other.disk.packages):
            return False
        process.disk.packages |= packages
        return True

    def cloned(self, process: Process, effect: fx.Clone) -> None:
        """Carry out a ``Clone``."""
        world = self._world
        if not process.alive:
            return
        where = {"evaluation": effect.evaluation, "project": effect.project}
        name = effect.url.rsplit("/", 1)[1]
        suite = world.urls.get(name)
        if suite is None:
            world.tell(process, ev.CloneFailed(**where, message="repository not found"))
            return
        package = f"{name:0>64}"
        world.suites[package] = suite
        holders = self.spread(process, {package})
        world.tell(process, ev.Cloned(**where, package=package, size=1000, holders=holders))
