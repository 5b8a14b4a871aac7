"""The bodies of the core's own answers."""

from __future__ import annotations

from node.core import effects as fx
from node.core.evaluation import Ledger
from node.core.membership import Roster
from node.core.settings import CoreSettings


def accepted(ticket: int, evaluation: int) -> fx.Answer:
    """202 for a submission that is durable."""
    body = {"id": evaluation, "state": "queued", "url": f"/evaluation/{evaluation}", "durability": "local"}
    return fx.Answer(ticket=ticket, status=202, body=body)


def known(ticket: int, evaluation: int, state: str) -> fx.Answer:
    """200 with the state an evaluation is in."""
    return fx.Answer(ticket=ticket, status=200, body={"id": evaluation, "state": state})


def cancelling(ticket: int, evaluation: int) -> fx.Answer:
    """200: it is over already; cancelling twice is no error."""
    return fx.Answer(ticket=ticket, status=200, body={"id": evaluation, "detail": "it is over already"})


def refused(ticket: int, status: int, title: str, detail: str) -> fx.Answer:
    """An RFC 9457 problem."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return fx.Answer(ticket=ticket, status=status, body=body, retry_after=5 if status == 429 else 0)


def health(
    settings: CoreSettings, node: str, epoch: int, age: float, roster: Roster, ledger: Ledger
) -> dict[str, object]:
    """The body of ``/health``; ``age`` is seconds on the node's own clock."""
    return {
        "status": "ok",
        "role": "master",
        "node": node,
        "master": roster.address(node),
        "epoch": epoch,
        "age": round(age, 3),
        "durability": "local",
        "replicas": 0,
        "voters": [roster.address(node)],
        "nodes": len(roster.nodes()),
        "slots": len(roster.slots()),
        "queue": len(ledger.evaluations),
        "isolation": settings.isolation,
    }
