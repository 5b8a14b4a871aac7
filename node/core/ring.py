"""The ring: who pings whom, and how death, silence and leaving are told apart.

Members sit on a ring in order of join. Each pings its successor, which is pinged by nobody else.
A peer that closes its connection without a ``BYE``, or refuses a redial, is dead by evidence. A peer
that merely says nothing is a suspect: the others are asked, and only when nobody has heard it is its
silence reported. A suspect that speaks again is a suspect no more.
"""

from __future__ import annotations

from msgspec import Struct

from node.core.ring_events import (
    Closed,
    Died,
    Heard,
    Left,
    Recovered,
    Redial,
    Redialled,
    RingEffect,
    RingEvent,
    Said,
    Seated,
    Silent,
    Tell,
    Tick,
)
from node.core.timing import Timing
from proto.voting import (
    Evidence,
    RingMessage,
    RingPing,
    RingPong,
    SilenceOpinion,
    SilenceQuestion,
    SilenceReport,
)

ASKED = 3
"""How many others are asked about a suspect."""
AGAIN = 4
"""Suspect limits after which a silence that lasts is asked about and reported again."""


class _Watch(Struct, kw_only=True):
    """What is known of one member. Times in seconds; 0 means not."""

    incarnation: int
    heard: float
    closed_at: float = 0.0
    redial_at: float = 0.0
    asked_at: float = 0.0
    asked: tuple[str, ...] = ()
    reported: bool = False
    buried: int = -1


class Ring:
    """One node's seat. ``handle(event, now)`` is the only entrance; ``now`` is CLOCK_BOOTTIME."""

    def __init__(self, node: str, timing: Timing, now: float) -> None:
        self.node = node
        self._timing = timing
        self._order: tuple[str, ...] = (node,)
        self._voters: tuple[str, ...] = ()
        self._watches: dict[str, _Watch] = {}
        self._ping_at = now
        self._number = 0
        self._inquirers: dict[str, list[tuple[str, float]]] = {}
        self._effects: list[RingEffect] = []

    @property
    def successor(self) -> str:
        """The node this one pings: the next on the ring that is not proven dead; empty when alone."""
        for node in self._order[1:]:
            if node in self._watches and not self.is_dead(node):
                return node
        return ""

    def silence(self, node: str, now: float) -> float:
        """Seconds since the node was heard; infinite for one that is not watched."""
        watch = self._watches.get(node)
        return now - watch.heard if watch is not None else float("inf")

    def is_dead(self, node: str) -> bool:
        """Whether there is evidence against the newest process of the node that is known."""
        watch = self._watches.get(node)
        return watch is not None and watch.buried >= watch.incarnation

    def next_deadline(self) -> float | None:
        """When to post the next ``Tick``; None when alone."""
        if not self._watches:
            return None
        redials = [watch.redial_at for watch in self._watches.values() if watch.redial_at]
        return min([self._ping_at, *redials])

    def handle(self, event: RingEvent, now: float) -> list[RingEffect]:
        """Everything that follows from one event."""
        if now - self._ping_at > self._timing.suspect / 2:
            self._overslept(now)
        match event:
            case Seated():
                self._seat(event, now)
            case Heard():
                self._heard(event.node, event.incarnation, now)
            case Said():
                self._heard(event.node, event.incarnation, now)
                self._said(event.node, event.message, now)
            case Closed():
                self._closed(event, now)
            case Redialled():
                self._redialled(event, now)
            case Tick():
                self._tick(now)
        effects, self._effects = self._effects, []
        return effects

    # --- seats --------------------------------------------------------------------------------

    def _seat(self, event: Seated, now: float) -> None:
        order = [member.node for member in event.members]
        self._voters = event.voters
        if self.node in order:
            place = order.index(self.node)
            self._order = (*order[place:], *order[:place])
        for member in event.members:
            watch = self._watches.get(member.node)
            if member.node != self.node and (watch is None or watch.incarnation < member.incarnation):
                self._watches[member.node] = _Watch(incarnation=member.incarnation, heard=now)
        for node in [node for node in self._watches if node not in order]:
            del self._watches[node]

    def _overslept(self, now: float) -> None:
        """This process was paused: what it did not hear in that time accuses nobody."""
        self._ping_at = now
        for watch in self._watches.values():
            watch.heard = now
            watch.asked_at = 0.0

    # --- hearing ------------------------------------------------------------------------------

    def _heard(self, node: str, incarnation: int, now: float) -> None:
        watch = self._watches.get(node)
        if watch is None or incarnation < watch.incarnation:
            return
        watch.incarnation = incarnation
        watch.buried = min(watch.buried, incarnation - 1)
        watch.heard = now
        watch.closed_at = watch.redial_at = watch.asked_at = 0.0
        if watch.reported:
            watch.reported = False
            self._effects.append(Recovered(node=node))
        for inquirer, _ in self._inquirers.pop(node, ()):
            self._effects.append(Tell(node=inquirer, message=SilenceOpinion(node=node, heard=True)))

    def _said(self, node: str, message: RingMessage, now: float) -> None:
        match message:
            case RingPing():
                self._effects.append(Tell(node=node, message=RingPong(number=message.number)))
            case SilenceQuestion():
                self._questioned(node, message.node, now)
            case SilenceOpinion():
                watch = self._watches.get(message.node)
                if watch is not None and message.heard and node in watch.asked:
                    # Alive for somebody: it gets another limit, and is asked about again after that.
                    watch.heard = now
                    watch.asked_at = 0.0
                elif watch is not None:
                    watch.asked = tuple(other for other in watch.asked if other != node)

    def _questioned(self, inquirer: str, suspect: str, now: float) -> None:
        """Ping the suspect; answer yes as soon as it speaks, or no when the time for it is over."""
        watch = self._watches.get(suspect)
        if watch is None:
            self._effects.append(Tell(node=inquirer, message=SilenceOpinion(node=suspect, heard=False)))
            return
        inquirers = self._inquirers.setdefault(suspect, [])
        if inquirer not in [name for name, _ in inquirers]:
            inquirers.append((inquirer, now + self._timing.confirm))
        self._ping(suspect)

    def _ping(self, node: str) -> None:
        self._number += 1
        self._effects.append(Tell(node=node, message=RingPing(number=self._number)))

    # --- closing ------------------------------------------------------------------------------

    def _closed(self, event: Closed, now: float) -> None:
        watch = self._watches.get(event.node)
        if watch is None or event.incarnation != watch.incarnation:
            return
        if event.bye:
            del self._watches[event.node]
            self._order = tuple(node for node in self._order if node != event.node)
            self._effects.append(Left(node=event.node))
            return
        if event.by_peer:
            watch.closed_at = now
        self._redial(event.node, watch, now)

    def _redial(self, node: str, watch: _Watch, now: float) -> None:
        watch.redial_at = now + self._timing.redial
        self._effects.append(Redial(node=node))

    def _redialled(self, event: Redialled, now: float) -> None:
        watch = self._watches.get(event.node)
        if watch is None:
            return
        if event.how == "answered":
            if event.incarnation > watch.incarnation:
                self._bury(event.node, watch)
            self._heard(event.node, event.incarnation, now)
        elif event.how == "refused":
            self._bury(event.node, watch)

    def _bury(self, node: str, watch: _Watch) -> None:
        watch.redial_at = watch.closed_at = 0.0
        if watch.buried >= watch.incarnation:
            return
        watch.buried = watch.incarnation
        self._effects.append(Died(node=node, incarnation=watch.incarnation))
        self._report(Evidence(node=node, incarnation=watch.incarnation), node)

    def _report(self, message: Evidence | SilenceReport, about: str) -> None:
        for voter in self._voters:
            if voter != about:
                self._effects.append(Tell(node=voter, message=message))

    # --- time ---------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        for node, watch in self._watches.items():
            if not watch.redial_at or now < watch.redial_at:
                continue
            if watch.closed_at and now - watch.closed_at >= self._timing.suspect:
                # It closed the connection itself, and nobody has met it since.
                self._bury(node, watch)
            else:
                self._redial(node, watch, now)
        if now < self._ping_at:
            return
        self._ping_at = now + self._timing.ping
        successor = self.successor
        if successor:
            self._ping(successor)
            self._doubt(successor, self._watches[successor], now)
        self._answer_inquirers(now)

    def _doubt(self, node: str, watch: _Watch, now: float) -> None:
        """Silence for the limit: ask the others; silence confirmed: report it, once."""
        if now - watch.heard < self._timing.suspect:
            return
        if watch.reported:
            if now - watch.asked_at >= AGAIN * self._timing.suspect:
                # The report may have been lost, or come to a master that could not act on it.
                watch.reported, watch.asked_at = False, 0.0
            return
        if not watch.asked_at:
            watch.asked_at = now
            watch.asked = tuple(other for other in self._order[1:] if other != node)[:ASKED]
            for other in watch.asked:
                self._effects.append(Tell(node=other, message=SilenceQuestion(node=node)))
            if not watch.redial_at:
                self._redial(node, watch, now)
        elif not watch.asked or now - watch.asked_at >= 2 * self._timing.confirm:
            watch.reported = True
            self._effects.append(Silent(node=node, incarnation=watch.incarnation))
            self._report(SilenceReport(node=node, incarnation=watch.incarnation), node)

    def _answer_inquirers(self, now: float) -> None:
        for suspect, inquirers in list(self._inquirers.items()):
            waiting = [(node, until) for node, until in inquirers if until > now]
            for node, until in inquirers:
                if until <= now:
                    self._effects.append(Tell(node=node, message=SilenceOpinion(node=suspect, heard=False)))
            if waiting:
                self._inquirers[suspect] = waiting
            else:
                del self._inquirers[suspect]
