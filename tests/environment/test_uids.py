"""Blocks of uids: no two nodes of a machine share one."""

from __future__ import annotations

import socket

from node import uids


def test_a_block_that_another_process_holds_is_passed_over() -> None:
    node = "a node of this test alone"
    wanted = uids.preferred(node)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0testring-uids-{wanted}")
        found = uids.claim(node)
    assert found != wanted
    assert (found - uids.FIRST) % uids.PER_NODE == 0
    assert uids.claim(node) == found, "it stays with the node as long as the process lives"


def test_two_nodes_never_share_a_block() -> None:
    claimed = [uids.claim(f"n{number}") for number in range(60)]
    assert len(set(claimed)) == len(claimed)
