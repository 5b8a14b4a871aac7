"""The Flask application: routes, authentication, and one place where errors become answers."""

from __future__ import annotations

import logging
import os
import time

from flask import Flask, Response, g, request
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from api import uploads
from api.auth import Guard
from api.channel import Unsendable
from api.client import NodeClient, NodeUnavailable
from api.problems import Problem, unavailable
from api.settings import Settings, load
from api.views import Views

log = logging.getLogger("testring.api")

OPEN_PATHS = ("/", "/health")
"""Answered without a token: probes of container engines have none."""


def create_app(settings: Settings | None = None, client: NodeClient | None = None) -> Flask:
    """The application; ``settings`` default to the environment, ``client`` to one for their socket.

    Raises:
        SettingsError: the environment holds a wrong setting.
    """
    settings = settings or load(os.environ)
    client = client or NodeClient(
        settings.socket, timeout=settings.read_timeout, connect_timeout=settings.connect_timeout
    )
    app = Flask("api", static_folder=None)
    uploads.install(app, settings.spool, settings.max_upload)
    Views(client, settings).register(app)
    guard = Guard(settings.tokens)

    @app.before_request
    def admit() -> None:
        # Busy keep-alive connections would starve the others: a green socket that has data never
        # yields. Without gevent this merely offers the processor to another thread.
        time.sleep(0)
        if request.path in OPEN_PATHS:
            g.caller = ""
            return
        scope = "read" if request.method in ("GET", "HEAD", "OPTIONS") else "submit"
        g.caller = guard.caller(request.headers.get("Authorization"), scope)

    _register_errors(app)
    return app


def _register_errors(app: Flask) -> None:
    app.register_error_handler(Problem, lambda problem: problem.response())
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NodeUnavailable, lambda error: unavailable(str(error)).response())
    app.register_error_handler(
        Unsendable,
        lambda error: Problem(422, f"the request does not fit the cluster's protocol: {error}").response(),
    )
    app.register_error_handler(Exception, _unexpected)


def _http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        # Redirects are answers, not errors.
        return error
    detail, headers = error.description or "", {}
    if isinstance(error, NotFound):
        detail = f"there is nothing at {request.path}"
    elif isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        detail, headers = (
            f"{request.method} is not possible on {request.path}; use {allowed}",
            {"Allow": allowed},
        )
    elif isinstance(error, ClientDisconnected):
        detail = "the request body ended early"
    elif isinstance(error, RequestEntityTooLarge):
        detail = "the request is larger than the limit"
    return Problem(error.code, detail, headers=headers).response()


def _unexpected(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return Problem(500, "an unexpected error; the log of the API says more").response()
