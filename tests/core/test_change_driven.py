"""What is remembered instead of worked out anew gives the answers that working it out would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.core import voters as rules
from node.core.contacts import Contacts
from node.core.council import Council
from node.core.effects import Dial
from node.core.failover import Witness
from node.core.timing import LAN
from node.core.voting_log import Log
from proto.voting import EMPTY, Epoch, LogRecord

NODES = ("a", "b", "c", "d")
nodes = st.sampled_from(NODES)
incarnations = st.integers(1, 3)
witnessed = st.tuples(st.sampled_from(("hear", "came_up", "died")), nodes, incarnations)


def witness_told(witness: Witness, what: str, node: str, incarnation: int) -> None:
    if what == "hear":
        witness.hear(node, incarnation, 0.0)
    elif what == "came_up":
        witness.came_up(node, incarnation, 0.0)
    else:
        witness.died(node, incarnation)


@given(st.lists(witnessed, max_size=30))
def test_the_witness_has_another_version_whenever_others_are_dead(steps: list[tuple[str, str, int]]) -> None:
    witness = Witness(LAN, 0.0)
    for step in steps:
        before, version = [witness.is_dead(node) for node in NODES], witness.version
        witness_told(witness, *step)
        assert [witness.is_dead(node) for node in NODES] == before or witness.version != version


rosters = st.lists(nodes, unique=True, max_size=4).map(tuple)
said = st.one_of(
    st.tuples(st.just("roster"), rosters, st.integers(0, 2)),
    st.tuples(st.just("leaves"), nodes, incarnations),
    st.tuples(st.just("back"), nodes, incarnations),
    witnessed,
)


@given(st.lists(st.tuples(said, rosters, st.frozensets(nodes)), max_size=25))
def test_a_council_proposes_what_the_rules_say_of_the_present(steps: list) -> None:
    witness = Witness(LAN, 0.0)
    council = Council("a", witness)
    roster: tuple[str, ...] = ()
    replicas = 0
    for (what, first, second), current, ready in steps:
        if what == "roster":
            roster, replicas = first, second
            council.roster(roster, replicas)
        elif what == "leaves":
            council.leaves(first, second)
        elif what == "back":
            council.came_up(first, second)
        else:
            witness_told(witness, what, first, second)
        version, learners = council.version, council.learners(current)
        gone = council._gone(current)
        expected = rules.next_voters(current, roster=roster, ready=ready, gone=gone, replicas=replicas)
        for _ in range(2):
            assert council.proposal(current, set(ready)) == (expected if roster else None)
        assert (council.version, council.learners(current)) == (version, learners)


def dials(contacts: Contacts, now: float) -> list[str]:
    return [effect.node for effect in contacts.want(("a", "b"), now) if isinstance(effect, Dial)]


def test_who_is_wanted_is_looked_at_again_when_its_turn_has_come_or_something_changed() -> None:
    contacts = Contacts("m", LAN)
    contacts.up("a", "a:1", 1)
    contacts.up("b", "b:1", 1)
    assert (dials(contacts, 0.0), contacts.reached()) == ([], ("a:1", "b:1"))
    assert contacts.down("a", 1)
    assert (dials(contacts, 1.0), contacts.reached()) == (["a"], ("b:1",))
    assert dials(contacts, 1.0 + LAN.redial) == [], "it is being dialled"
    contacts.dialled("a")
    assert dials(contacts, 1.0 + LAN.redial) == ["a"]
    contacts.dialled("a")
    assert dials(contacts, 1.0 + 1.5 * LAN.redial) == []
    assert dials(contacts, 1.0 + 2 * LAN.redial) == ["a"]
    contacts.up("a", "a:2", 2)
    assert contacts.reached() == ("a:2", "b:1")


def test_an_address_that_becomes_known_is_dialled_at_once() -> None:
    contacts = Contacts("m", LAN)
    assert dials(contacts, 0.0) == []
    contacts.learn("b", "b:1")
    assert dials(contacts, 0.0) == ["b"]


@given(st.lists(st.one_of(st.none(), rosters.filter(bool)), min_size=1, max_size=12), st.data())
def test_the_log_names_the_sets_of_voters_in_a_part_of_it(sets: list, data: st.DataObject) -> None:
    epoch = Epoch(1, "a")
    log = Log(EMPTY, ("z",), [LogRecord(epoch, at, b"", voters) for at, voters in enumerate(sets, 1)])
    first = data.draw(st.integers(1, len(sets)))
    last = data.draw(st.integers(first, len(sets)))
    assert log.changes(first, last) == [record.voters for record in log.slice(first, last) if record.voters]
    needed = [voters for voters in sets[last:] if voters]
    committed = next((voters for voters in reversed(sets[:last]) if voters), ("z",))
    assert log.required(last) == tuple(dict.fromkeys([*reversed(needed), committed]))
