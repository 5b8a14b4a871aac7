"""Errors as RFC 9457 problem details: ``type title status detail`` and what else helps."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from flask import Response

CONTENT_TYPE = "application/problem+json"

_encoder = msgspec.json.Encoder()


class Problem(Exception):
    """An answer that is an error. ``members`` are extra keys (``field``, ``limit``...) of the body.

    ``detail`` is one line for people: what was wrong, where, what to do.
    """

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """The HTTP answer."""
        try:
            title = HTTPStatus(self.status).phrase
        except ValueError:
            title = "Error"
        body = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return Response(
            _encoder.encode(body | self.members),
            status=self.status,
            headers=self.headers,
            content_type=CONTENT_TYPE,
        )


def unavailable(detail: str, *, retry_after: int = 2) -> Problem:
    """503: no master answers now; ``retry_after`` in seconds."""
    return Problem(503, detail, headers={"Retry-After": str(retry_after)})
