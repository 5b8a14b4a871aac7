"""The roster: who is a member, who is sent work, who could hold the log."""

from __future__ import annotations

from node.core.membership import Roster, Slot
from node.core.records import Joined


def joined(node: str, slots: int = 1, incarnation: int = 1) -> Joined:
    return Joined(node=node, address=f"{node}:1", incarnation=incarnation, slots=slots, alone=4)


def roster(*nodes: str) -> Roster:
    return Roster("m", [joined("m", 0), *(joined(node) for node in nodes)])


def test_slots_are_dealt_in_turn_over_the_nodes() -> None:
    made = Roster("m", [joined("m", 0), joined("a", 2), joined("b", 1)])
    assert made.slots() == [Slot("a", 0), Slot("b", 0), Slot("a", 1)]


def test_a_master_alone_uses_the_slots_it_has_for_that() -> None:
    assert len(roster().slots()) == 4


def test_nothing_is_sent_to_who_drains_has_not_reported_or_is_away() -> None:
    made = roster("a", "b", "c", "d")
    made.drain("a")
    made.awaited.add("b")
    made.away("c")
    assert [slot.node for slot in made.slots()] == ["d"]
    assert [made.hears(node) for node in "abcdz"] == [True, False, False, True, False]
    made.reported("b")
    made.reported("c")
    assert [slot.node for slot in made.slots()] == ["b", "c", "d"]


def test_who_drains_cannot_be_made_a_voter() -> None:
    made = roster("a", "b")
    made.drain("a")
    assert made.able() == ["m", "b"]


def test_a_new_process_is_the_same_member_with_other_words() -> None:
    made = roster("a")
    assert made.knows(joined("a"))
    assert not made.knows(joined("a", incarnation=2))
    made.neighbours("a", ("m:1",))
    made.join(joined("a", 3, 2))
    assert made.incarnation("a") == 2
    assert made.nodes() == ["m", "a"]
    assert made.message(1, ()).members[1].neighbours == ("m:1",)


def test_who_left_is_nowhere() -> None:
    made = roster("a")
    made.away("a")
    assert made.leave("a")
    assert not made.leave("a")
    made.away("a")
    made.join(joined("a"))
    assert made.hears("a")
    assert made.find("a:1") == "a"
    assert made.find("nobody") is None
    assert made.address("z") == ""
    assert made.incarnation("z") == -1


def test_the_network_is_what_nodes_report_and_the_master_sees() -> None:
    made = roster("a", "b", "c")
    made.neighbours("a", ("b:1", "x:1"))
    made.neighbours("c", ("a:1",))
    seen = made.network({"a", "b"})
    assert seen == {
        "m:1": ["a:1", "b:1"],
        "a:1": ["b:1", "m:1"],
        "b:1": ["a:1", "m:1"],
        "c:1": [],
    }
