"""Which uids a node's tests, builds and clones run under: a block that no other node of this machine uses.

Killing by uid, and sweeping what a uid left, must never meet another node's sessions. A block is
claimed by an abstract socket: the kernel frees it when the process ends, however it ends.
"""

from __future__ import annotations

import errno
import socket
import zlib

FIRST = 20_000
PER_NODE = 64
BLOCKS = 500

_claims: dict[str, int] = {}


def preferred(node_id: str) -> int:
    """The first uid of the block that this node takes if it is free."""
    return FIRST + (zlib.crc32(node_id.encode()) % BLOCKS) * PER_NODE


def claim(node_id: str) -> int:
    """The first uid of a block that is this process's until it ends; the same for the same node.

    Raises:
        OSError: every block is taken, or the kernel has no abstract sockets.
    """
    if node_id in _claims:
        return _claims[node_id]
    start = (preferred(node_id) - FIRST) // PER_NODE
    for step in range(BLOCKS):
        first = FIRST + (start + step) % BLOCKS * PER_NODE
        guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            guard.bind(f"\0testring-uids-{first}")
        except OSError as error:
            guard.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        # Its descriptor stays open for as long as the process lives: that is the claim.
        guard.detach()
        _claims[node_id] = first
        return first
    raise OSError(errno.EADDRINUSE, "all blocks of uids are taken by other nodes of this machine")
