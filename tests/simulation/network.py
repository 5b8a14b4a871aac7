"""The network between the nodes: delays, losses, doubles, overtaking, and cuts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.simulation.node import Node, Weather


class Network:
    """``cuts`` are directed: (sender, receiver)."""

    def __init__(self, random: Random) -> None:
        self.weather = Weather()
        self.cuts: set[tuple[str, str]] = set()
        self._random = random

    def apart(self, one: Node, other: Node) -> bool:
        """Whether no connection can stand between the two."""
        return (one.name, other.name) in self.cuts or (other.name, one.name) in self.cuts

    def delay(self) -> float:
        """Seconds that a message takes now."""
        weather, random = self.weather, self._random
        delay = weather.delay
        if weather.jitter:
            delay += random.random() * weather.jitter
            if random.random() < weather.late:
                delay *= 1 + 9 * random.random()
        return delay

    def transmit(self, sender: Node, receiver: str, arrive: Callable[[float], None]) -> None:
        """Call ``arrive(delay)`` for every copy that the network will deliver."""
        if (sender.name, receiver) in self.cuts:
            return
        weather, random = self.weather, self._random
        if weather.drop and random.random() < weather.drop:
            return
        copies = 2 if weather.duplicate and random.random() < weather.duplicate else 1
        for _ in range(copies):
            arrive(self.delay())
