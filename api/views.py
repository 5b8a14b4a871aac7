"""The routes. The node answers with a status and ready JSON bytes; they are passed on as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import cast

import flask
import msgspec
from flask import Flask, g, request

from api import reports, schemas
from api.client import NodeClient, NodeUnavailable
from api.problems import CONTENT_TYPE as PROBLEM_TYPE
from api.problems import Problem
from api.settings import Settings
from api.submissions import Submissions
from api.uploads import UploadRequest
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
    Response,
)
from proto.version import VERSION

log = logging.getLogger("testring.api")

FINAL_STATES = ("finished", "cancelled", "failed")
HIGHEST = 2**63 - 1
MAX_FILTER = 512
"""Characters of a filter in a query string."""

_state: msgspec.json.Decoder[schemas.EvaluationState] = msgspec.json.Decoder(schemas.EvaluationState)
_accepted: msgspec.json.Decoder[schemas.Accepted] = msgspec.json.Decoder(schemas.Accepted)
_encoder = msgspec.json.Encoder()


class Views:
    """One method per route, sharing the client of this process."""

    def __init__(self, client: NodeClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._submissions = Submissions(client, settings)

    def register(self, app: Flask) -> None:
        """Add the routes to ``app``."""
        routes = (
            ("GET", "/", self.index),
            ("GET", "/health", self.health),
            ("GET", "/stats", self.stats),
            ("GET", "/network", self.network),
            ("POST", "/network/<node>/drain", self.drain),
            ("POST", "/evaluation", self.submit),
            ("GET", "/evaluation", self.evaluations),
            ("GET", "/evaluation/<number>", self.evaluation),
            ("DELETE", "/evaluation/<number>", self.cancel),
            ("GET", "/evaluation/<number>/tests", self.tests),
            ("GET", "/evaluation/<number>/report.jsonl", self.report_jsonl),
            ("GET", "/evaluation/<number>/report.xml", self.report_xml),
        )
        app.url_map.strict_slashes = False
        for method, path, view in routes:
            app.add_url_rule(path, endpoint=view.__name__, view_func=view, methods=[method])

    # --- submissions ------------------------------------------------------------------------------

    def submit(self) -> flask.Response:
        """``POST /evaluation``."""
        answer = self._submissions.submit(cast(UploadRequest, request), g.caller)
        response = passed_on(answer)
        if answer.status == 202:
            response.headers["Location"] = f"/evaluation/{_accepted.decode(answer.body).id}"
        return response

    def cancel(self, number: str) -> flask.Response:
        """``DELETE /evaluation/<id>``."""
        query = CancelEvaluation(evaluation=evaluation_id(number))
        return passed_on(self._client.ask(query, timeout=self._settings.submit_timeout))

    # --- reads ------------------------------------------------------------------------------------

    def evaluations(self) -> flask.Response:
        """``GET /evaluation``: newest first; ``before`` and ``limit`` page."""
        before = schemas.whole_number(request.args.get("before"), "before", 0, low=0, high=HIGHEST)
        limit = schemas.whole_number(request.args.get("limit"), "limit", 100, low=1, high=1000)
        return self._ask(ListEvaluations(before=before, limit=limit))

    def evaluation(self, number: str) -> flask.Response:
        """``GET /evaluation/<id>``."""
        return self._ask(GetEvaluation(evaluation=evaluation_id(number)))

    def tests(self, number: str) -> flask.Response:
        """``GET /evaluation/<id>/tests``: one page of verdicts."""
        query = GetTests(
            evaluation=evaluation_id(number),
            state=_filter("state"),
            project=_filter("project"),
            page=schemas.whole_number(request.args.get("page"), "page", 1, low=1, high=10**9),
            limit=schemas.whole_number(request.args.get("limit"), "limit", 100, low=1, high=5000),
        )
        return self._ask(query)

    def stats(self) -> flask.Response:
        """``GET /stats``."""
        return self._ask(GetStats())

    def network(self) -> flask.Response:
        """``GET /network``."""
        return self._ask(GetNetwork())

    def drain(self, node: str) -> flask.Response:
        """``POST /network/<node>/drain``: by node id or address; it finishes what it runs and leaves."""
        if len(node) > MAX_FILTER:
            raise Problem(404, "there is no such node: its name is too long")
        return self._ask(DrainNode(node=node))

    def health(self) -> flask.Response:
        """``GET /health``: 503 while no master answers."""
        return self._ask(GetHealth())

    def index(self) -> flask.Response:
        """``GET /``: what is here."""
        rules = flask.current_app.url_map.iter_rules()
        routes = sorted(
            {
                str(rule).replace("<number>", "{id}").replace("<node>", "{node}")
                for rule in rules
                if rule.endpoint != "static"
            }
        )
        return flask.Response(
            _encoder.encode({"service": "testring", "version": VERSION, "routes": routes}),
            content_type="application/json",
        )

    # --- reports ----------------------------------------------------------------------------------

    def report_jsonl(self, number: str) -> flask.Response:
        """``GET /evaluation/<id>/report.jsonl``: the verdicts so far, one a line."""
        pages = reports.Pages(self._client, evaluation_id(number), _filter("project"), reports.LINES_PAGE)
        if pages.first.status != 200:
            return passed_on(pages.first)
        return _streamed(reports.json_lines(iter(pages)), "application/x-ndjson")

    def report_xml(self, number: str) -> flask.Response:
        """``GET /evaluation/<id>/report.xml``: JUnit, once the evaluation has ended.

        A JUnit file cannot say "not all of it": a tool would read a partial one as the whole result.
        """
        evaluation = evaluation_id(number)
        answer = self._client.ask(GetEvaluation(evaluation=evaluation))
        if answer.status != 200:
            return passed_on(answer)
        state = _state.decode(answer.body).state
        if state not in FINAL_STATES:
            raise Problem(
                409,
                f"evaluation {evaluation} is {state}: its JUnit report is there once it has ended; "
                "report.jsonl gives the verdicts so far",
                headers={"Retry-After": "2"},
                state=state,
            )
        pages = reports.Pages(self._client, evaluation, _filter("project"), reports.CASES_PAGE)
        if pages.first.status != 200:
            return passed_on(pages.first)
        name = f"evaluation {evaluation}"
        return _streamed(
            reports.junit_xml(iter(pages), name, self._settings.spool), "application/xml; charset=utf-8"
        )

    def _ask(self, query: Query) -> flask.Response:
        return passed_on(self._client.ask(query))


def passed_on(answer: Response) -> flask.Response:
    """The node's answer as an HTTP answer; its errors are problem details already."""
    response = flask.Response(
        answer.body,
        status=answer.status,
        content_type="application/json" if answer.status < 400 else PROBLEM_TYPE,
    )
    if answer.retry_after or answer.status == 503:
        response.headers["Retry-After"] = str(answer.retry_after or 1)
    return response


def evaluation_id(text: str) -> int:
    """The id in a path.

    Raises:
        Problem: 404 if it cannot be one.
    """
    # Longer numbers fit no store; int() also takes signs, blanks and underscores.
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem(404, f"there is no evaluation {text[:40]!r}: ids are whole numbers")
    return int(text)


def _filter(name: str) -> str:
    value = request.args.get(name, "")
    if len(value) > MAX_FILTER:
        raise Problem(422, f"{name} is longer than {MAX_FILTER} characters", field=name, limit=MAX_FILTER)
    return value


def _streamed(blocks: Iterator[bytes], content_type: str) -> flask.Response:
    return flask.Response(_whole_or_broken(blocks), content_type=content_type)


def _whole_or_broken(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass blocks on; a failure ends the body without its terminator, so the client knows."""
    try:
        yield from blocks
    except (reports.ReportBroken, NodeUnavailable, msgspec.DecodeError) as error:
        log.error("a report ended in the middle: %s", error)
        raise
