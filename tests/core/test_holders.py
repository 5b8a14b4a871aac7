"""Which nodes have which packages, and who may become a voter."""

from __future__ import annotations

from node.core import effects as fx
from node.core import events as ev
from node.core import records as rec
from node.core.evaluation import Ledger
from node.core.holders import Holders
from node.core.membership import Roster
from node.core.settings import CoreSettings


def made(*nodes: str) -> tuple[Holders, Ledger]:
    ledger = Ledger()
    roster = Roster("m", [rec.Joined(node=n, address=n, incarnation=1, slots=1) for n in ("m", *nodes)])
    holders = Holders(CoreSettings(), "m", ledger, roster)
    return holders, ledger


def accept(ledger: Ledger, evaluation: int, package: str) -> None:
    source = rec.Source(name="p", package=package, size=7)
    ledger.apply(rec.Accepted(evaluation=evaluation, request=str(evaluation), at=0.0, projects=(source,)))


def equips(holders: Holders, *connected: str) -> dict[str, dict[str, int]]:
    effects = holders.equip(set(connected))
    return {effect.node: effect.packages for effect in effects if isinstance(effect, fx.Equip)}


def test_a_submission_needs_its_packages_on_a_majority_of_the_voters() -> None:
    holders, _ = made("a", "b")
    holders.voters = ("m", "a", "b")
    assert not holders.noted({"x"}, set())
    assert holders.noted({"x"}, {"b"})
    assert holders.noted(set(), set())


def test_those_next_in_line_are_given_what_they_lack_and_are_offered_then() -> None:
    holders, ledger = made("a", "b")
    accept(ledger, 1, "x")
    assert equips(holders, "a") == {"a": {"x": 7}}
    assert holders.eligible() == ("m",)
    assert equips(holders, "a") == {}, "it is under way"
    holders.equipped(ev.Equipped(node="a", packages=frozenset({"x"}), ok=True))
    assert holders.eligible() == ("m", "a")


def test_one_that_could_not_is_asked_again_when_something_has_changed() -> None:
    holders, ledger = made("a")
    accept(ledger, 1, "x")
    equips(holders, "a")
    holders.equipped(ev.Equipped(node="a", packages=frozenset({"x"}), ok=False))
    assert equips(holders, "a") == {}
    holders.changed()
    assert equips(holders, "a") == {"a": {"x": 7}}


def test_a_package_of_a_new_submission_is_spread_anew() -> None:
    holders, ledger = made("a")
    equips(holders, "a")
    assert holders.eligible() == ("m", "a")
    accept(ledger, 1, "x")
    assert holders.eligible() == ("m",)
    holders.noted({"x"}, {"a"})
    assert holders.eligible() == ("m", "a")


def test_who_is_gone_has_nothing() -> None:
    holders, ledger = made("a")
    accept(ledger, 1, "x")
    holders.noted({"x"}, {"a"})
    holders.forget("a")
    assert holders.eligible() == ("m",)


def test_replicated_means_that_others_could_go_on() -> None:
    holders, _ = made("a")
    holders.committed = ("m", "a")
    assert holders.durability == "local"
    holders.settled = True
    assert holders.durability == "replicated"
