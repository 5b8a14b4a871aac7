import pytest

from hashring import HashRing, position

NODES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def ring():
    return HashRing(NODES)


@pytest.mark.parametrize("key", [f"key-{n}" for n in range(40)])
def test_every_key_has_an_owner(ring, key):
    assert ring.owner(key) in NODES


def test_the_owner_is_stable():
    assert [HashRing(NODES).owner(f"k{n}") for n in range(50)] == [HashRing(NODES).owner(f"k{n}") for n in range(50)]


def test_an_empty_ring_has_no_owner():
    with pytest.raises(LookupError):
        HashRing().owner("x")


def test_positions_are_32_bits():
    assert 0 <= position("anything") < 2**32


def test_points_are_checked():
    with pytest.raises(ValueError, match="at least one"):
        HashRing(points=0)
