"""Carries the schedule out, one thread, and holds itself to what the cluster promises to survive.

Single faults: among the voters at most one node is away at a time, and it counts as away until the
cluster has it back and says that it is replicated again. Of the others some always stay up. The HTTP
service is no node: it may be away beside one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cli.errors import CommandError
from tests.chaos.book import Book
from tests.chaos.nodes import Fleet, Node
from tests.chaos.schedule import Step

RETURN_SECONDS = 45.0
"""A node that was restarted, continued or healed is in /network again within this time."""
PATIENCE = 20.0
"""A step waits so long for a moment at which it is a single fault; then it is left out."""
MOST_ENDS = 3
"""A node that ended by itself so often is not started again."""
_TICK = 0.02


@dataclass
class _Away:
    """A node under a fault, and then on its way back."""

    node: Node
    kind: str
    until: float
    back: float = 0.0
    """When the fault ended; 0 while it lasts."""


@dataclass
class Agent:
    """``beyond`` lets faults meet among the voters too."""

    fleet: Fleet
    book: Book
    steps: Iterator[Step]
    beyond: bool = False
    done: Counter[str] = field(default_factory=Counter)
    """``kill master``, ``cut worker``, ... -> how often; ``skipped`` steps too."""
    _away: list[_Away] = field(default_factory=list)
    _outage: float = 0.0
    """When the HTTP service is to be started again; 0 while it is there."""
    _began: float = field(default_factory=time.monotonic)
    _pause: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """Trouble the cluster for ``seconds``, then let everybody come back."""
        self._began = time.monotonic()
        end = self._began + seconds
        step = next(self.steps, None)
        due = self._began
        while (now := time.monotonic()) < end:
            self._bring_back(now)
            if step is not None and now >= due + step.after and self._tried(step, now - due - step.after):
                step, due = next(self.steps, None), now
            self._pause.wait(_TICK)
        self._outage = min(self._outage, end)
        for away in self._away:
            away.until = min(away.until, end)
        while self._away or self._outage:
            self._bring_back(time.monotonic())
            self._pause.wait(_TICK)

    # --- striking ---------------------------------------------------------------------------

    def _tried(self, step: Step, waited: float) -> bool:
        """Whether the step is done with: carried out, or left out after a long wait."""
        if step.kind == "api":
            return self._struck_service(step)
        target = self._target(step)
        if target is not None:
            self._strike(step, target)
        elif waited > PATIENCE:
            self.done["skipped"] += 1
            self._tell(f"left out: {step}")
        else:
            return False
        return True

    def _target(self, step: Step) -> Node | None:
        """The node a step is for, or None while it would not be a single fault."""
        view = self.book.view
        roles = {
            "master": [node for node in self.fleet.nodes if node.address == view.master],
            "backup": [node for node in self.fleet.nodes if node.address in view.voters - {view.master}],
            "worker": [node for node in self.fleet.nodes if node.address not in view.voters],
        }
        candidates = roles[step.role] or roles["worker"]
        if not candidates:
            return None
        node = candidates[step.index % len(candidates)]
        away = [one.node for one in self._away]
        # Two nodes always stay able to run tests, or there would be nothing to see.
        if node in away or len(away) > len(self.fleet.nodes) - 4:
            return None
        # A second lost disk among three would be a lost majority, and that is not promised.
        if node.address in view.voters and not (self.beyond and step.kind != "disk"):
            settled = max((one.back for one in self._away), default=0.0)
            if any(one.address in view.voters for one in away) or view.at <= settled:
                return None
            if view.durability != "replicated" or len(view.voters) < 3 or not view.voters <= view.members:
                return None
        return node

    def _strike(self, step: Step, node: Node) -> None:
        view = self.book.view
        role = (
            "master" if node.address == view.master else "backup" if node.address in view.voters else "worker"
        )
        now = time.monotonic()
        how = ""
        if step.kind in ("kill", "disk"):
            self.book.killed(self.fleet.kill(node), role)
        elif step.kind == "stop":
            self.fleet.stop(node)
        elif step.kind == "oneway":
            self.fleet.cut_oneway(node, mute=step.mute)
            how = ", mute" if step.mute else ", deaf"
        else:
            self.fleet.cut(node)
        self._away.append(_Away(node, step.kind, now + step.seconds))
        self.done[f"{step.kind} {role}"] += 1
        self._tell(f"{step.kind} {node.name} ({role}{how}) for {step.seconds:.2f} s")

    def _struck_service(self, step: Step) -> bool:
        """Kill the HTTP service, unless it is away already."""
        if self._outage:
            return False
        self.fleet.service.kill()
        self._outage = time.monotonic() + step.seconds
        self.done["api killed"] += 1
        self._tell(f"api for {step.seconds:.2f} s")
        return True

    # --- bringing back ----------------------------------------------------------------------

    def _bring_back(self, now: float) -> None:
        self._bring_back_service(now)
        for node, how in self.fleet.died():
            self.book.violated(f"{node.name} ended by itself: {how}")
            self._tell(f"{node.name} ended by itself: {how}")
            self._away = [one for one in self._away if one.node is not node]
            node.state = "killed"
            self.done[f"end of {node.name}"] += 1
            if self.done[f"end of {node.name}"] < MOST_ENDS:
                self._away.append(_Away(node, "end", now + 1.0))
        for away in list(self._away):
            if not away.back:
                if now >= away.until:
                    self._end(away)
            elif self._returned(away):
                self._away.remove(away)
                self._tell(f"{away.node.name} is back {now - away.back:.2f} s after its {away.kind}")
            elif now > away.back + RETURN_SECONDS:
                self._away.remove(away)
                self.book.violated(
                    f"{away.node.name} is not in /network {RETURN_SECONDS:g} s after its {away.kind} ended"
                )

    def _bring_back_service(self, now: float) -> None:
        service = self.fleet.service
        if not self._outage or now < self._outage:
            return
        if service.child is not None and service.child.running:
            if service.listening:
                self._outage = 0.0
                self._tell("api is back")
        else:
            service.start()

    def _end(self, away: _Away) -> None:
        node = away.node
        if away.kind == "disk":
            self.fleet.wipe(node)
        if node.state == "stopped":
            self.fleet.resume(node)
        elif node.state == "cut":
            self.fleet.heal(node)
        else:
            self.fleet.start_node(node)
        away.back = time.monotonic()

    def _returned(self, away: _Away) -> bool:
        node, view = away.node, self.book.view
        if node.state == "starting":
            try:
                if not self.fleet.ready(node):
                    return False
            except CommandError:
                return False  # found by ``died`` in the next round
            if len(node.ids) > node.disks:
                self.book.violated(f"{node.name} has {len(node.ids)} identities on {node.disks} disks")
            # Before this moment it may be listed from its former life.
            away.back = time.monotonic()
        return view.at > away.back and node.address in view.members

    def _tell(self, text: str) -> None:
        """Into the story, beside the nodes' logs and on their clock."""
        now = datetime.now(UTC)
        with (self.fleet.top / "story.txt").open("a") as story:
            story.write(f"{now:%H:%M:%S.%f} {time.monotonic() - self._began:7.2f}  {text}\n")
