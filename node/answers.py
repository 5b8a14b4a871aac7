"""What the control socket and other nodes ask: each kind of query has one method here.

Reads come from the store, in the threadpool, joined with what only the core knows (running counts,
live nodes). Whatever decides something is posted to the core and answered by it. A node that is not
the master relays a request once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from node import views
from node.core import events as ev
from node.intake import Refused
from node.net import transfer
from node.store import StoreError
from node.threads import in_pool
from node.tickets import Unanswered
from proto.errors import ProtocolError
from proto.messages import (
    CancelEvaluation,
    DrainNode,
    GetEvaluation,
    GetHealth,
    GetNetwork,
    GetStats,
    GetTests,
    ListEvaluations,
    Query,
    Request,
    Response,
    SubmitArchive,
    SubmitProjects,
)

if TYPE_CHECKING:
    from node.server import Server

log = logging.getLogger("testring.control")

DECIDE_SECONDS = 20.0
RELAY_SECONDS = 60.0
TAKEOVER_SECONDS = 8.0
"""How long a request waits for a master."""
POLL_SECONDS = 0.2
"""How often it looks, beside being told."""
RETRY_AFTER = 1
NO_MASTER = "No master"
NO_MASTER_DETAIL = "this node knows no master at the moment; try again"
LARGEST_BODY = 4_000_000
"""Bytes of JSON that fit into one frame with room for its envelope."""


class Answers:
    """Turns requests into responses; called in a greenlet of its own for each."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._table: dict[type, Callable[[Any], tuple[int, object]]] = {
            SubmitArchive: self._submit_archive,
            SubmitProjects: self._submit_projects,
            ListEvaluations: self._list,
            GetEvaluation: self._evaluation,
            GetTests: self._tests,
            GetStats: self._stats,
            GetNetwork: self._decide,
            GetHealth: self._decide,
            CancelEvaluation: self._cancel,
            DrainNode: self._decide,
        }

    def answer(self, request: Request) -> Response:
        """The response to one request; never raises."""
        response = self._answer(request)
        if not isinstance(request.query, GetHealth):
            return response
        server, body = self._server, msgspec.json.decode(response.body)
        body = views.health_view(body, server.node, server.address, server.lag.shown())
        return msgspec.structs.replace(response, body=msgspec.json.encode(body))

    def _answer(self, request: Request) -> Response:
        try:
            if not self._server.serving():
                return self._relay(request)
            status, body = self._table[type(request.query)](request.query)
            if body is None:
                return self._relay(request)
        except Refused as refused:
            return problem(request, refused.status, refused.title, str(refused), **refused.extra)
        except Unanswered as error:
            return problem(request, 503, "No answer", str(error), retry_after=RETRY_AFTER)
        except StoreError as error:
            return problem(request, 503, "The store is not available", str(error), retry_after=RETRY_AFTER)
        except Exception:
            log.exception("answering %s failed", type(request.query).__name__)
            return problem(request, 500, "Internal error", "the node's log says more")
        encoded = msgspec.json.encode(body)
        if len(encoded) > LARGEST_BODY:
            return problem(
                request, 413, "Answer too large", f"more than {LARGEST_BODY} bytes: ask for smaller pages"
            )
        return Response(id=request.id, status=status, body=encoded)

    # --- submissions --------------------------------------------------------------------------

    def _submit_archive(self, query: SubmitArchive) -> tuple[int, object]:
        return self._known(query.request) or self._submitted(
            query.request, lambda ticket: self._server.intake.archive(ticket, query)
        )

    def _submit_projects(self, query: SubmitProjects) -> tuple[int, object]:
        return self._known(query.request) or self._submitted(
            query.request, lambda ticket: self._server.intake.projects(ticket, query)
        )

    def _submitted(self, request: str, take_in: Callable[[int], None]) -> tuple[int, object]:
        ticket = self._server.tickets.issue()
        try:
            take_in(ticket)
        except BaseException:
            self._server.tickets.forget(ticket)
            raise
        answer = self._server.tickets.wait(ticket, DECIDE_SECONDS)
        log.info("submission %s: %s", request, answer.body)
        return answer.status, answer.body

    def _known(self, request: str) -> tuple[int, object] | None:
        """The answer to a request that was answered before (the same key gives the same id)."""
        evaluation = in_pool(self._server.store.request, request)
        return None if evaluation is None else (202, {"id": evaluation, "repeated": True})

    # --- reads --------------------------------------------------------------------------------

    def _list(self, query: ListEvaluations) -> tuple[int, object]:
        rows = in_pool(self._server.store.evaluations, query.before, query.limit)
        return 200, views.evaluations_view(rows, query.limit, time.time())

    def _evaluation(self, query: GetEvaluation) -> tuple[int, object]:
        found = in_pool(self._server.store.evaluation, query.evaluation)
        if found is None:
            raise unknown(query.evaluation)
        return 200, views.evaluation_view(found, self._server.core.live(query.evaluation), time.time())

    def _tests(self, query: GetTests) -> tuple[int, object]:
        page = in_pool(
            self._server.store.tests, query.evaluation, query.state, query.project, query.page, query.limit
        )
        if page is None:
            raise unknown(query.evaluation)
        return 200, views.tests_view(page)

    def _stats(self, _query: GetStats) -> tuple[int, object]:
        return 200, views.stats_view(in_pool(self._server.store.stats), self._server.core.addresses())

    # --- decisions ----------------------------------------------------------------------------

    def _decide(self, query: Query) -> tuple[int, object]:
        ticket = self._server.tickets.issue()
        self._server.post(ev.Asked(ticket=ticket, query=query, at=time.time()))
        answer = self._server.tickets.wait(ticket, DECIDE_SECONDS)
        return answer.status, answer.body

    def _cancel(self, query: CancelEvaluation) -> tuple[int, object]:
        found = in_pool(self._server.store.evaluation, query.evaluation)
        if found is None:
            raise unknown(query.evaluation)
        return self._decide(query)

    # --- not the master -----------------------------------------------------------------------

    def _relay(self, request: Request) -> Response:
        """Pass a request on to the master, once; while there is none, wait for one within the deadline."""
        # Whoever asks how things are wants to hear that there is no master.
        patient = not (request.relayed or isinstance(request.query, GetHealth))
        deadline = time.monotonic() + (TAKEOVER_SECONDS if patient else 0.0)
        while True:
            if self._server.serving() and not request.relayed:
                return self._answer(msgspec.structs.replace(request, relayed=True))
            master = self._server.core.master
            if not request.relayed and master in self._server.links.peers:
                response = self._ask(master, request)
                if response is not None:
                    return response
            left = deadline - time.monotonic()
            if left <= 0:
                return problem(request, 503, NO_MASTER, NO_MASTER_DETAIL, retry_after=RETRY_AFTER)
            self._server.changed.wait(min(left, POLL_SECONDS))

    def _ask(self, master: str, request: Request) -> Response | None:
        """The master's answer; None if it is not the master, or not any more."""
        query = request.query
        if isinstance(query, SubmitArchive):
            self._pass_upload(master, query.sha256)
        ticket = self._server.tickets.issue(master)
        self._server.links.send(master, Request(id=ticket, query=query, relayed=True))
        try:
            response = self._server.tickets.wait_relayed(ticket, RELAY_SECONDS)
        except Unanswered as error:
            log.info("%s was not answered: %s", type(query).__name__, error)
            return None
        if response.status == 503 and NO_MASTER.encode() in response.body:
            return None
        return msgspec.structs.replace(response, id=request.id)

    def _pass_upload(self, master: str, sha256: str) -> None:
        """An archive that was stored here: the master needs it before the request."""
        path = self._server.spool.find(sha256)
        if path is None:
            # Then it went to the master itself, or is nowhere: the master says which.
            return
        try:
            with self._server.dial_node(master) as wire:
                transfer.push(wire, path, sha256)
        except (OSError, ProtocolError, transfer.TransferError) as error:
            raise Unanswered(f"the upload could not be passed to the master: {error}") from error


def unknown(evaluation: int) -> Refused:
    """404 for an evaluation id."""
    return Refused(404, "Unknown evaluation", f"there is no evaluation {evaluation}")


def problem(
    request: Request, status: int, title: str, detail: str, retry_after: int = 0, **extra: object
) -> Response:
    """An RFC 9457 body."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extra}
    return Response(id=request.id, status=status, body=msgspec.json.encode(body), retry_after=retry_after)
