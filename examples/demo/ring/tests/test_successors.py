import sys

import pytest

from hashring import HashRing


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_successors_are_different(count):
    found = HashRing("abcd").successors("key", count)
    assert len(set(found)) == count
    assert found[0] == HashRing("abcd").owner("key")


def test_too_many_successors():
    with pytest.raises(LookupError):
        HashRing("ab").successors("key", 3)


@pytest.mark.skipif(sys.platform != "win32", reason="only Windows has this limit")
def test_long_names_on_windows():
    assert HashRing(["x" * 400]).owner("key")


def test_adding_a_node_twice_changes_nothing():
    """Fails on purpose: ``add`` does not look whether the node is there."""
    ring = HashRing("ab")
    ring.add("a")
    assert len(ring._ring) == 2 * 64
