"""Golden transcripts: a scenario is a list of commands, and under each what happened.

``python -m tests.simulation.scenario FILE...`` plays the files and says whether they still hold;
with ``--rewrite`` it writes down what happens now, to be read before it is kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from node.core.timing import LAN
from tests.simulation.checks import Violation
from tests.simulation.node import Node
from tests.simulation.whole.scenario import NodeStage
from tests.simulation.world import World

ROSTER_EVERY = 0.5


class Stage:
    """A world that takes one command at a time."""

    def __init__(self) -> None:
        self._fresh()

    def _fresh(self) -> None:
        self.world = World(0, LAN, trace=True)
        self._rosters()

    def _rosters(self) -> None:
        self.world.tell_roster()
        self.world.at(self.world.now + ROSTER_EVERY, self._rosters)

    def do(self, command: str) -> list[str]:
        """Carry out one command; what the cluster did meanwhile.

        Raises:
            ValueError: no such command.
            Violation: an expectation does not hold, or a promise is broken.
        """
        verb, *words = command.split()
        world = self.world
        began = len(world.story)
        match verb:
            case "found":
                world.add(words[0], founder=True)
            case "join":
                for name in words:
                    world.add(name)
            case "replicas":
                world.replicas = int(words[0])
            case "run":
                world.run(world.now + float(words[0]))
            case "append":
                for word in words:
                    payload, _, at = word.partition("@")
                    world.append(payload.encode(), self._node(at) if at else None)
            case "kill" | "power-off":
                for name in words:
                    world.crash(self._node(name), quiet=verb == "power-off")
            case "start":
                for name in words:
                    world.start(self._node(name))
            case "pause":
                world.pause(self._node(words[0]))
            case "resume":
                world.resume(self._node(words[0]))
            case "drain":
                world.leave(self._node(words[0]))
            case "cut":
                self._cut(words)
            case "forge-close":
                self._forge(words)
            case "heal":
                world.heal()
            case "fresh":
                self._fresh()
                return []
            case "expect":
                self._expect(words)
            case _:
                raise ValueError(f"no such command: {command}")
        return world.story[began:]

    def _node(self, name: str) -> Node:
        return self.world.nodes[name]

    def _cut(self, words: list[str]) -> None:
        """``cut a b | c``: both ways; ``cut a > b``: what a sends to b is lost."""
        divider = next(word for word in words if word in "|>")
        place = words.index(divider)
        for one in words[:place]:
            for other in words[place + 1 :]:
                self.world.network.cuts.add((one, other))
                if divider == "|":
                    self.world.network.cuts.add((other, one))

    def _forge(self, words: list[str]) -> None:
        """A middlebox closes the connection for both and lets nothing through."""
        self.world.ledger.two_masters = True
        self._cut([words[0], "|", words[1]])
        for one, other in (words, words[::-1]):
            self.world.evidence(self._node(one), self._node(other))

    def _expect(self, words: list[str]) -> None:
        subject, *rest = words
        acting = [n.name for n in self.world.nodes.values() if n.replica is not None and n.replica.acting]
        if subject == "master":
            held = acting == [name for name in rest if name != "nobody"]
        elif subject == "log":
            node, *payloads = rest
            replica = self._node(node).replica
            count = replica.commit if replica is not None else 0
            records = self._node(node).disk.history()[:count]
            held = [r.payload.decode() for r in records if r.payload] == payloads
        elif subject == "voters":
            node, *names = rest
            replica = self._node(node).replica
            held = replica is not None and sorted(replica.voters) == sorted(names)
        else:
            raise ValueError(f"no such expectation: {subject}")
        if not held:
            stories = [n.replica.story() for n in self.world.nodes.values() if n.replica is not None]
            raise Violation(f"expected {' '.join(words)}; masters: {acting}\n  " + "\n  ".join(stories))


def play(text: str) -> str:
    """The transcript of a scenario: its comments and commands, and what happens now.

    One whose first line says "whole nodes" is played by those, others by bare replicas.
    """
    stage = NodeStage() if "whole nodes" in text.partition("\n")[0] else Stage()
    lines = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            lines.append(line)
        elif line.startswith("> "):
            lines.append(line)
            lines += ["  " + event for event in stage.do(line[2:])]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.scenario", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rewrite", action="store_true", help="keep what happens now as the transcript")
    options = parser.parse_args()
    changed = 0
    for file in options.files:
        text = file.read_text()
        now = play(text)
        if now == text:
            continue
        changed += 1
        print(f"{file}: {'rewritten' if options.rewrite else 'something else happens now'}")
        if options.rewrite:
            file.write_text(now)
    return 1 if changed and not options.rewrite else 0


if __name__ == "__main__":
    sys.exit(main())
