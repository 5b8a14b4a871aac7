"""Testring's HTTP interface as Python calls.

Every request is safe to repeat: reads change nothing, and a submission carries an ``Idempotency-Key``,
so a 503 or a broken connection is tried again until ``patience`` is over.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from cli.errors import INTERNAL, USAGE, CommandError, Unreachable
from cli.multipart import FileForm

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
SUBMIT_SECONDS = 660.0
"""A submission answers once it is durable; a large upload takes its time."""
LINE_LIMIT = 8 << 20
"""Bytes of one line of a report."""


class Client:
    """One server.

    Args:
        url: ``http://HOST:PORT``.
        token: bearer token, or empty.
        patience: seconds to go on trying after 503 or a broken connection.
    """

    def __init__(self, url: str, token: str = "", patience: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self._answered = False
        self._session = requests.Session()
        # Proxies are for the world outside; a server on loopback is never behind one.
        self._session.trust_env = not _is_loopback(self.url)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # --- submissions ------------------------------------------------------------------------

    def submit_archive(self, archive: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Submit a zip; the server's answer, with ``id``."""
        key = uuid.uuid4().hex

        def send() -> requests.Response:
            with FileForm(archive, {"options": json.dumps(options)}) as form:
                return self._send(
                    "POST",
                    "/evaluation",
                    data=form,
                    headers={"Content-Type": form.content_type, "Idempotency-Key": key},
                    timeout=(CONNECT_SECONDS, SUBMIT_SECONDS),
                )

        return self._json(self._retrying(send))

    def submit_projects(self, urls: list[str], auth_token: str, options: dict[str, Any]) -> dict[str, Any]:
        """Submit git URLs; ``auth_token`` goes to the first URL's origin only."""
        body: dict[str, Any] = {"projects": urls, "options": options}
        if auth_token:
            body["auth_token"] = auth_token
        return self._json(
            self._request(
                "POST",
                "/evaluation",
                json=body,
                headers={"Idempotency-Key": uuid.uuid4().hex},
                timeout=(CONNECT_SECONDS, SUBMIT_SECONDS),
            )
        )

    # --- reads and decisions ----------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at ``path``."""
        return self._json(self._request("GET", path, params=params))

    def evaluation(self, evaluation: int) -> dict[str, Any]:
        """Progress and result."""
        return dict(self.get(f"/evaluation/{evaluation}"))

    def verdicts(self, evaluation: int) -> Iterator[dict[str, Any]]:
        """The lines of ``report.jsonl``, as they come."""
        with self._request("GET", f"/evaluation/{evaluation}/report.jsonl", stream=True) as response:
            for line in response.iter_lines(chunk_size=1 << 16):
                if len(line) > LINE_LIMIT:
                    raise CommandError(
                        f"the report of evaluation {evaluation} has a line over {LINE_LIMIT} bytes"
                    )
                if line:
                    yield json.loads(line)

    def tests(self, evaluation: int, state: str) -> Iterator[dict[str, Any]]:
        """Verdicts of one outcome, with output and traceback, page by page."""
        page: int | None = 1
        while page is not None:
            answer = self.get(f"/evaluation/{evaluation}/tests", state=state, page=page)
            yield from answer["tests"]
            page = page + 1 if answer.get("next") else None

    def report(self, evaluation: int, kind: str) -> Iterator[bytes]:
        """A report's bytes. ``kind``: ``xml``, ``jsonl``, ``csv`` or ``html``."""
        with self._request("GET", f"/evaluation/{evaluation}/report.{kind}", stream=True) as response:
            yield from response.iter_content(1 << 16)

    def cancel(self, evaluation: int) -> dict[str, Any]:
        """Stop an evaluation."""
        return self._json(self._request("DELETE", f"/evaluation/{evaluation}"))

    def drain(self, node: str) -> dict[str, Any]:
        """Ask a node (id or address) to finish what it runs and leave."""
        return self._json(self._request("POST", f"/network/{quote(node, safe=':')}/drain"))

    # --- the wire ---------------------------------------------------------------------------

    def _send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        arguments.setdefault("timeout", (CONNECT_SECONDS, READ_SECONDS))
        return self._session.request(method, self.url + path, **arguments)

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return self._retrying(lambda: self._send(method, path, **arguments))

    def _retrying(self, send: Any) -> requests.Response:
        """The answer to ``send()``, sent again while the server says 503 or breaks off."""
        end = time.monotonic() + self.patience
        pause = 0.1
        while True:
            try:
                response = send()
            except requests.exceptions.InvalidURL as error:
                raise CommandError(f"{self.url} is not a server's address: {error}", USAGE) from error
            except (requests.ConnectionError, requests.Timeout) as error:
                # A server never reached is more likely a wrong address than a restart: say so soon.
                if not self._answered or time.monotonic() + pause > end:
                    raise Unreachable(_unreachable(self.url, error)) from error
            except requests.RequestException as error:
                raise CommandError(f"{self.url}: {error}") from error
            else:
                self._answered = True
                if response.status_code != 503 or time.monotonic() + pause > end:
                    return _checked(response)
                pause = max(pause, min(_seconds(response.headers.get("Retry-After")), end - time.monotonic()))
                response.close()
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _json(self, response: requests.Response) -> dict[str, Any]:
        try:
            return dict(response.json())
        except ValueError as error:
            raise CommandError(f"{self.url} did not answer with JSON: is it a Testring server?") from error


def _is_loopback(url: str) -> bool:
    return url.startswith(("http://127.", "http://localhost", "http://[::1]"))


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdigit() else 0.0


def _unreachable(url: str, error: Exception) -> str:
    what = "took too long to answer" if isinstance(error, requests.Timeout) else "does not answer"
    return f"the server at {url} {what}: start one with 'testring up', or name another with --server URL"


def _checked(response: requests.Response) -> requests.Response:
    """``response`` if it is good; else its problem as one line."""
    if response.status_code < 400:
        return response
    try:
        problem = response.json()
        detail = str(problem.get("detail") or problem.get("title"))
        where = problem.get("entry")
    except (ValueError, AttributeError):
        detail, where = response.reason or "no reason given", None
    if where and str(where) not in detail:
        detail += f" ({where})"
    exit_code = USAGE if response.status_code < 500 else INTERNAL
    raise CommandError(f"{response.status_code}: {' '.join(detail.split())}", exit_code)
