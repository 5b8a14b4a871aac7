"""The bodies of the core's own answers."""

from __future__ import annotations

from node.core import effects as fx
from node.core.evaluation import Ledger
from node.core.holders import Holders
from node.core.membership import Roster
from node.core.settings import CoreSettings
from proto.voting import Epoch


def accepted(ticket: int, evaluation: int, durability: str) -> fx.Answer:
    """202 for a submission that is durable."""
    body = {
        "id": evaluation,
        "state": "queued",
        "url": f"/evaluation/{evaluation}",
        "durability": durability,
    }
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
    return fx.Answer(ticket=ticket, status=status, body=body, retry_after={429: 5, 503: 1}.get(status, 0))


def unsettled(ticket: int) -> fx.Answer:
    """The master stepped down before the answer was certain: whoever asked asks the next one."""
    return fx.Answer(ticket=ticket, status=503, body=None)


def health(
    settings: CoreSettings, epoch: Epoch, age: float, roster: Roster, ledger: Ledger, holders: Holders
) -> dict[str, object]:
    """The body of ``/health``; ``age`` is seconds since this master's reign began."""
    return {
        "status": "ok",
        "role": "master",
        "node": epoch.node,
        "master": roster.address(epoch.node),
        "epoch": epoch.counter,
        "age": round(age, 3),
        "durability": holders.durability,
        "replicas": len(holders.committed) // 2,
        "voters": [roster.address(voter) or voter for voter in holders.committed],
        "nodes": len(roster.nodes()),
        "awaited": len(roster.awaited),
        "slots": len(roster.slots()),
        "queue": len(ledger.evaluations),
        "isolation": settings.isolation,
    }
