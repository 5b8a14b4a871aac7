"""Bearer tokens: who may read and who may submit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from api.problems import Problem


class Guard:
    """Checks ``Authorization`` headers against the configured tokens; without tokens all may do all."""

    def __init__(self, tokens: Iterable[tuple[str, str]]) -> None:
        # Looked up by hash: how long a look-up takes then says nothing about a token.
        self._scopes = {_digest(token): scope for token, scope in tokens}

    def caller(self, header: str | None, scope: str) -> str:
        """A stable name for the caller (never the token); empty if no tokens are configured.

        Raises:
            Problem: 401 without a known token, 403 if it does not cover ``scope``.
        """
        if not self._scopes:
            return ""
        kind, _, token = (header or "").partition(" ")
        digest = _digest(token.strip())
        granted = self._scopes.get(digest) if kind.lower() == "bearer" else None
        if granted is None:
            raise Problem(
                401,
                "a bearer token is needed: send the header 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": 'Bearer realm="testring"'},
            )
        if scope == "submit" and granted != "submit":
            raise Problem(
                403,
                "this token may only read; submitting and cancelling need one with the scope submit",
                headers={
                    "WWW-Authenticate": 'Bearer realm="testring", error="insufficient_scope", scope="submit"'
                },
                scope="submit",
            )
        return digest[:16]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
