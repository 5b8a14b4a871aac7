"""Which nodes hold the log, which could, and which packages each of them has on disk.

A record that names bytes follows the bytes: a submission goes into the log when a majority of the
voters has its packages, and a node is offered as a voter when it has all that are unfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from node.core import effects as fx
from node.core import events as ev
from node.core.evaluation import Ledger
from node.core.membership import Roster
from node.core.settings import CoreSettings


class Holders:
    """The master's view of them. ``voters`` is the newest set in the log."""

    def __init__(self, settings: CoreSettings, node: str, ledger: Ledger, roster: Roster) -> None:
        self._settings = settings
        self._node = node
        self._ledger = ledger
        self._roster = roster
        self._has: dict[str, set[str]] = {}
        self._under_way: set[str] = set()
        self._expected: dict[str, int] = {}
        """Packages of evaluations that are about to be merged: hash -> size in bytes."""
        self._changed = True
        self._has_changed = 0
        """How often ``_has`` has, or may have."""
        self._eligible: tuple[str, ...] = ()
        self._eligible_by: tuple[object, ...] = ()
        """What ``_eligible`` follows from, as it was then."""
        self.voters: tuple[str, ...] = (node,)
        self.committed: tuple[str, ...] = (node,)
        """The newest set that is committed."""
        self.required: tuple[str, ...] = (node,)
        """Everybody in a set whose majority must agree: the committed one and those after it."""
        self.settled = False
        """Whether a majority of the voters knows that they are: they could go on without this node."""

    @property
    def durability(self) -> str:
        """``replicated`` if what is committed is on more than one disk."""
        return "replicated" if len(self.committed) > 1 and self.settled else "local"

    def changed(self) -> None:
        """Members, connections or voters are not what they were."""
        self._changed = True

    def noted(self, packages: Set[str], holders: Set[str]) -> bool:
        """These nodes have these packages; whether a majority of the voters does."""
        self._found()
        for node in holders:
            self._has.setdefault(node, set()).update(packages)
        have = {self._node, *holders} if packages else set(self.voters)
        return 2 * sum(voter in have for voter in self.voters) > len(self.voters)

    def expect(self, packages: Mapping[str, int], holder: str) -> None:
        """This node has them, from ``holder``: others that hold the log are to have them as well."""
        self._expected.update(packages)
        self._has.setdefault(holder, set()).update(packages)
        self._found()

    def expected(self, packages: Mapping[str, int]) -> bool:
        """Whether this node has them, and so has a majority of the voters."""
        names = packages.keys()
        if not names <= self._expected.keys():
            return False
        has = [node == self._node or names <= self._has.get(node, set()) for node in self.voters]
        return 2 * sum(has) > len(self.voters)

    def unexpect(self, packages: Mapping[str, int]) -> None:
        """The evaluation is in the ledger, or will not be."""
        for package in packages:
            self._expected.pop(package, None)
        self._found()

    def forget(self, node: str) -> None:
        """A member is gone."""
        self._has.pop(node, None)
        self._under_way.discard(node)
        self._found()

    def equipped(self, event: ev.Equipped) -> None:
        """The end of an ``Equip``."""
        self._under_way.discard(event.node)
        # One that could not is asked again when something has changed, not at once and for ever.
        if event.ok and event.node in self._roster:
            self._found()
            self._has.setdefault(event.node, set()).update(event.packages)

    def equip(self, connected: Set[str]) -> list[fx.AnyEffect]:
        """Give those who hold the log, or are next in line to, the packages that they lack."""
        if not self._changed:
            return []
        self._changed = False
        self._has_changed += 1
        needed = self._unfinished()
        effects: list[fx.AnyEffect] = []
        for node in self._targets():
            if node not in connected or node in self._under_way or node in self._roster.awaited:
                continue
            has = self._has.setdefault(node, set())
            has &= needed.keys()
            lacking = {package: size for package, size in needed.items() if package not in has}
            if lacking:
                self._under_way.add(node)
                effects.append(fx.Equip(node=node, packages=lacking))
        return effects

    def eligible(self) -> tuple[str, ...]:
        """Live nodes, by join, that are voters or have all they need to become one."""
        by = (self._ledger.version, self._has_changed, self._roster.members, self.voters)
        # Asked after every event. None of these changes often, and comparing the very same ones is cheap.
        if by != self._eligible_by:
            self._eligible_by = by
            needed = self._unfinished().keys()
            self._eligible = tuple(
                node
                for node in self._roster.able()
                if node in self.voters or (node in self._has and needed <= self._has[node])
            )
        return self._eligible

    def _found(self) -> None:
        """Another node has other packages now, or other packages are needed."""
        self._changed = True
        self._has_changed += 1

    def _targets(self) -> Iterable[str]:
        line = [node for node in self._roster.able() if node not in self.voters]
        return [node for node in (*self.voters, *line[: 2 * self._settings.replicas]) if node != self._node]

    def _unfinished(self) -> dict[str, int]:
        return self._expected | {
            project.package: project.size
            for evaluation in self._ledger.evaluations.values()
            for project in evaluation.projects
            if project.package and not project.state
        }
