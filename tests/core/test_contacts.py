"""Whom a node is connected to, and when it dials."""

from __future__ import annotations

from node.core import effects as fx
from node.core.contacts import Contacts
from node.core.timing import LAN


def contacts(node: str = "b") -> Contacts:
    made = Contacts(node, LAN)
    for other in "abc":
        made.learn(other, f"{other}:1")
    return made


def dialled(effects: list[fx.AnyEffect]) -> list[str]:
    return [effect.node for effect in effects if isinstance(effect, fx.Dial)]


def test_the_larger_id_dials_at_once_and_the_smaller_waits() -> None:
    made = contacts()
    assert dialled(made.want("abc", 0.0)) == ["a"]
    assert made.next_deadline() == 2 * LAN.redial
    assert dialled(made.want("abc", 2 * LAN.redial)) == ["c"]


def test_one_attempt_at_a_time_and_none_within_redial() -> None:
    made = contacts()
    assert dialled(made.want("a", 0.0)) == ["a"]
    assert made.dial("a", 10.0) == []
    made.dialled("a")
    assert made.dial("a", LAN.redial / 2) == []
    assert dialled(made.want("a", LAN.redial)) == ["a"]


def test_nobody_dials_where_no_address_is_known_or_a_connection_stands() -> None:
    made = contacts()
    assert made.dial("z", 0.0) == []
    made.up("a", "a:2", 1)
    assert made.want("az", 0.0) == []
    assert made.next_deadline() is None


def test_a_connected_nodes_own_address_counts_more_than_the_rosters() -> None:
    made = contacts()
    made.up("a", "a:2", 1)
    made.learn("a", "a:3")
    assert made.addresses["a"] == "a:2"
    assert made.down("a", 1)
    made.learn("a", "a:3")
    made.learn("a", "")
    assert made.addresses["a"] == "a:3"


def test_the_end_of_an_older_process_is_not_that_of_the_newer() -> None:
    made = contacts()
    made.up("a", "", 1)
    made.up("a", "", 2)
    assert not made.down("a", 1)
    assert made.connected == {"a": 2}


def test_who_is_wanted_no_more_is_not_dialled() -> None:
    made = contacts("a")
    assert made.want("c", 0.0) == []
    assert made.want("", 0.0) == []
    assert made.next_deadline() is None
