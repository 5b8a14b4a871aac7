"""The words that messages are made of: bounded fields, ids, and the base of every message.

Ids, verdicts and log records are held by the hundred thousand. They cannot be part of a cycle, so
``gc=False`` spares the garbage collector from looking through them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Name = Annotated[str, Meta(max_length=512)]
Text = Annotated[str, Meta(max_length=262_144)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]

Outcome = Literal[
    "passed", "failed", "error", "skipped", "xfailed", "xpassed", "timeout", "crashed", "lost", "notrun"
]
"""What a verdict can say. One word per test, whatever pytest reported on the way."""

Collection = Literal["auto", "lazy", "whole"]
"""``lazy``: modules are collected one by one; ``whole``: everything is collected before a test runs."""


def _kebab(name: str) -> str:
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True, tag=_kebab):
    """Base of everything that is sent. Instances are immutable and compare by value."""


class AssignmentId(Struct, frozen=True, array_like=True, order=True, gc=False):
    """(issuing epoch, node that issued it, n): unique for ever, so a late verdict can be fenced."""

    epoch: int
    node: Name
    n: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.node}.{self.n}"


class TestId(Struct, frozen=True, array_like=True, order=True, gc=False):
    """A node id exactly as pytest writes it, and 0, 1, ... where a suite repeats that id."""

    __test__ = False

    nodeid: Annotated[str, Meta(max_length=65_536)]
    occurrence: Count = 0
