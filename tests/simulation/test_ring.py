"""Rings joined in memory: death, silence and leaving are told apart."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.core.ring import Ring
from node.core.ring_events import (
    Closed,
    Died,
    Heard,
    Left,
    Neighbour,
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
from node.core.timing import LAN

ORDER = ("a", "b", "c", "d")
QUANTUM = 0.05


@dataclass
class Table:
    """Rings that hear each other at once, except who is mute. ``news``: what each found out."""

    mute: set[str] = field(default_factory=set)
    deaf: set[tuple[str, str]] = field(default_factory=set)
    """(speaker, listener): what the first says does not reach the second."""
    redials: dict[str, str] = field(default_factory=dict)
    """How a redial of that node ends; ``unanswered`` unless named."""
    now: float = 10.0
    news: list[tuple[str, RingEffect]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    """(node, message type) of what reached the voter ``d``."""

    def __post_init__(self) -> None:
        self.rings = {name: Ring(name, LAN, self.now) for name in ORDER}
        self.seat(ORDER)

    def seat(self, order: tuple[str, ...], incarnations: dict[str, int] | None = None) -> None:
        known = incarnations or {}
        members = tuple(Neighbour(node=n, incarnation=known.get(n, 1)) for n in order)
        for name in order:
            self.post(name, Seated(members=members, voters=("d",)))

    def post(self, name: str, event: RingEvent) -> None:
        for effect in self.rings[name].handle(event, self.now):
            match effect:
                case Tell():
                    self.deliver(name, effect)
                case Redial():
                    how = self.redials.get(effect.node, "unanswered")
                    event = Redialled(node=effect.node, how=how, incarnation=1)  # type: ignore[arg-type]
                    self.post(name, event)
                case _:
                    self.news.append((name, effect))

    def deliver(self, sender: str, effect: Tell) -> None:
        if effect.node == "d":
            self.told.append((sender, type(effect.message).__name__))
        blocked = sender in self.mute or effect.node in self.mute or (sender, effect.node) in self.deaf
        if not blocked and effect.node in self.rings:
            self.post(effect.node, Said(node=sender, incarnation=1, message=effect.message))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += QUANTUM
            for name, ring in self.rings.items():
                deadline = ring.next_deadline()
                if name not in self.mute and deadline is not None and deadline <= self.now:
                    self.post(name, Tick())

    def found(self, kind: type[RingEffect]) -> list[tuple[str, str]]:
        return [(by, effect.node) for by, effect in self.news if isinstance(effect, kind)]


def test_everybody_pings_the_next_by_join_and_nobody_is_suspected() -> None:
    table = Table()
    assert [table.rings[name].successor for name in ORDER] == ["b", "c", "d", "a"]
    table.run(10)
    assert table.news == []


def test_silence_is_confirmed_by_the_others_and_reported_to_the_voters() -> None:
    table = Table(mute={"b"})
    table.run(LAN.suspect + 2 * LAN.confirm + 2 * LAN.ping)
    assert table.found(Silent) == [("a", "b")]
    assert ("a", "SilenceReport") in table.told
    assert table.found(Died) == [], "a redial that nobody answers is no evidence"


def test_a_peer_that_others_hear_is_not_reported() -> None:
    table = Table(deaf={("b", "a")})
    table.run(3 * LAN.suspect)
    assert table.found(Silent) == []


def test_a_peer_that_speaks_again_recovers() -> None:
    table = Table(mute={"b"})
    table.run(2 * LAN.suspect)
    table.mute.clear()
    table.run(2 * LAN.ping)
    assert table.found(Recovered) == [("a", "b")]


def test_a_refused_redial_is_evidence_at_once() -> None:
    table = Table(mute={"b"}, redials={"b": "refused"})
    table.post("a", Closed(node="b", incarnation=1, by_peer=True))
    assert table.found(Died) == [("a", "b")]
    assert ("a", "Evidence") in table.told
    assert table.rings["a"].successor == "c", "the ring closes over the dead"


def test_a_close_by_the_peer_becomes_evidence_when_nobody_meets_it_within_the_limit() -> None:
    table = Table(mute={"b"})
    table.post("a", Closed(node="b", incarnation=1, by_peer=True))
    table.run(LAN.suspect - 0.2)
    assert table.found(Died) == []
    table.run(0.5)
    assert table.found(Died) == [("a", "b")]


def test_a_close_by_this_side_is_never_evidence() -> None:
    table = Table(mute={"b"})
    table.post("a", Closed(node="b", incarnation=1, by_peer=False))
    table.run(3 * LAN.suspect)
    assert table.found(Died) == []
    assert table.found(Silent) == [("a", "b")]


def test_the_same_incarnation_met_again_is_alive() -> None:
    table = Table(redials={"b": "answered"})
    table.post("a", Closed(node="b", incarnation=1, by_peer=True))
    table.run(2 * LAN.suspect)
    assert table.news == []


def test_another_incarnation_is_evidence_against_the_first() -> None:
    table = Table()
    table.post("a", Closed(node="b", incarnation=1, by_peer=True))
    table.post("a", Redialled(node="b", how="answered", incarnation=2))
    assert [effect for _, effect in table.news] == [Died(node="b", incarnation=1)]
    assert table.rings["a"].successor == "b"


def test_a_bye_is_leaving_and_neither_death_nor_silence() -> None:
    table = Table(mute={"b"})
    table.post("a", Closed(node="b", incarnation=1, by_peer=True, bye=True))
    table.run(3 * LAN.suspect)
    assert table.found(Left) == [("a", "b")]
    assert table.found(Died) == table.found(Silent) == []


def test_who_was_paused_accuses_nobody() -> None:
    table = Table()
    table.run(1)
    table.mute = {"a"}
    table.now += 60
    for name in "bcd":
        table.post(name, Heard(node="a", incarnation=1))
    table.mute.clear()
    table.post("a", Tick())
    assert table.found(Silent) == []


def test_late_news_of_a_past_incarnation_is_nothing() -> None:
    table = Table()
    table.seat(ORDER, {"b": 2})
    table.post("a", Closed(node="b", incarnation=1, by_peer=True))
    assert table.news == []
