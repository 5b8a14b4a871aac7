"""Ring and connections together: what a closed connection, a refused redial and silence come to."""

from __future__ import annotations

from node.core import effects as fx
from node.core import events as ev
from node.core import ring_events as re
from node.core.neighbourhood import Neighbourhood
from node.core.timing import LAN
from proto.messages import Member


class Place:
    """Node ``a`` beside ``b``."""

    def __init__(self) -> None:
        self.effects: list[fx.AnyEffect] = []
        self.found: list[object] = []
        self.around = Neighbourhood("a", LAN, 0.0, self.effects.extend, self.found.append)
        members = [Member(node=node, address=f"{node}:1", slots=1, incarnation=1) for node in "ab"]
        self.around.seat(members, ("a",), 0.0)
        self.up(0.0)

    def up(self, now: float, incarnation: int = 1) -> None:
        self.around.up(ev.PeerUp(node="b", address="b:1", incarnation=incarnation), now)

    def down(self, now: float, **how: bool) -> bool:
        by_peer = how.pop("by_peer", True)
        return self.around.down(ev.PeerDown(node="b", incarnation=1, by_peer=by_peer, **how), now)

    def dials(self) -> int:
        return sum(isinstance(effect, fx.Dial) for effect in self.effects)


def test_a_closed_connection_is_redialled_and_a_refusal_is_evidence() -> None:
    place = Place()
    assert place.down(1.0)
    assert place.dials() == 1
    place.around.dialled(ev.Dialled(node="b", how="refused"), 1.1)
    assert place.found == [re.Died(node="b", incarnation=1)]
    assert place.around.is_dead("b")


def test_a_late_close_of_a_buried_node_leaves_no_timer_behind() -> None:
    place = Place()
    place.around.dialled(ev.Dialled(node="b", how="refused"), 1.0)
    place.down(1.1)
    now = 1.1
    for _ in range(20):
        now = max(now, place.around.next_deadline() or now)
        place.around.tick(now)
    assert now > 5.0, "time goes on between the ticks"
    assert len(place.found) == 1


def test_a_goodbye_is_no_evidence() -> None:
    place = Place()
    place.down(1.0, by_peer=False, bye=True)
    assert place.found == [re.Left(node="b")]


def test_a_replaced_connection_is_not_redialled() -> None:
    place = Place()
    assert place.down(1.0, by_peer=False, replaced=True)
    assert place.dials() == 0
    place.up(1.0)
    assert place.around.connected == {"b"}


def test_the_end_of_a_former_process_changes_nothing() -> None:
    place = Place()
    place.up(1.0, incarnation=2)
    assert not place.down(1.1)
    assert place.around.incarnation("b") == 2


def test_silence_that_lasts_is_reported_again() -> None:
    place = Place()
    now = 0.0
    while now < 30.0:
        now = max(now, place.around.next_deadline() or now)
        place.around.tick(now)
    assert len(place.found) > 1
    assert set(place.found) == {re.Silent(node="b", incarnation=1)}
    assert not place.around.hears("b", now)


def test_a_refusal_of_before_the_connection_is_no_evidence_against_who_is_connected() -> None:
    place = Place()
    assert place.down(1.0)
    place.up(1.2, incarnation=2)
    place.around.dialled(ev.Dialled(node="b", how="refused"), 1.3)
    assert not place.found
    assert not place.around.is_dead("b")
