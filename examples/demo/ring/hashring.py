"""A consistent-hash ring: keys go to the next node clockwise, and few move when a node leaves."""

import bisect
import hashlib


def position(text):
    """Where on the ring ``text`` is: 0 to 2**32 - 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class HashRing:
    def __init__(self, nodes=(), points=64):
        if points < 1:
            raise ValueError("a node needs at least one point")
        self._points = points
        self._ring = []
        for node in nodes:
            self.add(node)

    def __len__(self):
        return len({node for _, node in self._ring})

    def add(self, node):
        for number in range(self._points):
            bisect.insort(self._ring, (position(f"{node}#{number}"), node))

    def remove(self, node):
        kept = [entry for entry in self._ring if entry[1] != node]
        if len(kept) == len(self._ring):
            raise KeyError(node)
        self._ring = kept

    def owner(self, key):
        if not self._ring:
            raise LookupError("the ring is empty")
        index = bisect.bisect(self._ring, (position(key), "")) % len(self._ring)
        return self._ring[index][1]

    def successors(self, key, count):
        """``count`` different nodes, the owner first."""
        if count > len(self):
            raise LookupError(f"only {len(self)} nodes")
        start = bisect.bisect(self._ring, (position(key), ""))
        found = []
        for step in range(len(self._ring)):
            node = self._ring[(start + step) % len(self._ring)][1]
            if node not in found:
                found.append(node)
            if len(found) == count:
                break
        return found
