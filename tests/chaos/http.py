"""A patient client of the HTTP service that keeps count of what it was refused.

A request is repeated on 503, on other answers of a service in trouble, and on broken connections,
until its deadline; a submission carries its key, so repeating it is safe.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from typing import Any

import requests

from tests.chaos.suite import FOLDER

CONNECT_SECONDS = 2.0
READ_SECONDS = 30.0
_AGAIN = (429, 500, 502, 503, 504)


class Violation(AssertionError):
    """A promise was broken; the message says which and how."""


class Refused(Exception):
    """One request was not answered with what was asked for; ``status`` is 0 for a broken connection."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status


class Http:
    """One thread's connection to the service; ``refusals`` is shared and counts by status."""

    def __init__(self, url: str, refusals: Counter[int], patience: float = 120.0) -> None:
        self._url = url
        self._refusals = refusals
        self._patience = patience
        self._session = requests.Session()
        self._session.trust_env = False
        self._pause = threading.Event()

    def once(self, path: str, seconds: float = READ_SECONDS) -> Any:
        """The JSON at ``path``, asked for once.

        Raises:
            Refused: it was not there.
        """
        return self._once("GET", path, seconds).json()

    def get(self, path: str) -> Any:
        """The JSON at ``path``.

        Raises:
            Violation: not even after a long time, or it is not there at all.
        """
        return self._patient("GET", path).json()

    def lines(self, path: str) -> list[dict[str, Any]]:
        """The objects of a JSON-lines report; one that broke off is asked for anew."""
        return [json.loads(line) for line in self._patient("GET", path).text.splitlines() if line]

    def submit(self, archive: bytes, key: str, options: dict[str, Any]) -> int:
        """Submit a zip; the evaluation's id once it is acknowledged."""
        answer = self._patient(
            "POST",
            "/evaluation",
            files={"file": (f"{FOLDER}.zip", archive, "application/zip")},
            data={"options": json.dumps(options)},
            headers={"Idempotency-Key": key},
        )
        if answer.status_code != 202:
            raise Violation(f"a submission was answered {answer.status_code}")
        return int(answer.json()["id"])

    def delete(self, path: str) -> None:
        """``DELETE``: cancel."""
        self._patient("DELETE", path)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _patient(self, method: str, path: str, **body: Any) -> requests.Response:
        end = time.monotonic() + self._patience
        while True:
            try:
                return self._once(method, path, READ_SECONDS, **body)
            except Refused as error:
                if error.status and error.status not in _AGAIN:
                    raise Violation(f"{method} {path} was answered {error}") from error
                if time.monotonic() >= end:
                    raise Violation(f"{method} {path}: for {self._patience:g} s only {error}") from error
            self._pause.wait(0.1)

    def _once(self, method: str, path: str, seconds: float, **body: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, self._url + path, timeout=(CONNECT_SECONDS, seconds), **body
            )
        except requests.RequestException as error:
            self._refusals[0] += 1
            raise Refused(0, type(error).__name__) from error
        if not answer.ok:
            self._refusals[answer.status_code] += 1
            raise Refused(answer.status_code, answer.text[:300])
        return answer
