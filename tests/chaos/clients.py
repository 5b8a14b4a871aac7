"""The outside world: clients that submit one evaluation after another, a watcher that always asks."""

from __future__ import annotations

import threading
import time
from random import Random
from typing import Any

from tests.chaos import suite
from tests.chaos.book import Book, Submission, View
from tests.chaos.checks import Tally
from tests.chaos.http import Http, Refused, Violation

PERIOD = 0.05
"""Seconds between two rounds of the watcher."""
VIEW_EVERY = 4
"""The cluster's state is asked for in every so manyth round."""
EVALUATION_SECONDS = 120.0


class Watcher:
    """Asks for every running evaluation 20 times a second, and for the cluster's state."""

    def __init__(self, book: Book, url: str) -> None:
        self._book = book
        self._http = Http(url, book.refusals)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop and wait for the last round."""
        self._end.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        rounds = 0
        while not self._end.wait(PERIOD):
            for submission in self._book.running():
                self._look(submission)
            if rounds % VIEW_EVERY == 0:
                self._view()
            rounds += 1

    def _look(self, submission: Submission) -> None:
        answer, asked = self._ask(f"/evaluation/{submission.evaluation}")
        if answer is not None:
            self._book.seen(submission, answer, asked, time.monotonic())

    def _view(self) -> None:
        health, asked = self._ask("/health")
        network, _ = self._ask("/network")
        if health is not None and network is not None:
            self._book.shown(
                View(
                    at=asked,
                    master=health["master"],
                    epoch=str(health["epoch"]),
                    voters=frozenset(health["voters"]),
                    durability=health["durability"],
                    members=frozenset(network),
                )
            )

    def _ask(self, path: str) -> tuple[dict[str, Any] | None, float]:
        asked = time.monotonic()
        try:
            answer = self._http.once(path)
        except Refused as error:
            if 400 <= error.status < 500 and error.status != 429:
                self._book.violated(f"GET {path} was answered {error}")
            return None, asked
        self._book.availability.answered(time.monotonic())
        return dict(answer), asked


class Submitter:
    """Submits, waits for the end, checks the report, and begins again until told to finish."""

    def __init__(self, book: Book, url: str, tally: Tally, seed: int, number: int) -> None:
        self._book = book
        self._http = Http(url, book.refusals)
        self._tally = tally
        self._seed = seed
        self._random = Random(f"client {seed} {number}")
        self._expected = suite.expected(seed)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"client {number}")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Submit nothing more."""
        self._end.set()

    def join(self) -> None:
        """Wait until the last evaluation is checked."""
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        while not self._end.is_set():
            submission = self._book.new(self._seed)
            try:
                self._one(submission)
            except Exception as error:  # noqa: BLE001 - a client that ended unseen would hide what it found
                self._book.violated(f"submission {submission.number}: {type(error).__name__}: {error}")
                # Whatever it was: the other side of it need not be asked at full speed.
                self._end.wait(1.0)

    def _one(self, submission: Submission) -> None:
        archive = suite.archive(self._seed, submission.number)
        options = {"name": submission.key}
        submission.evaluation = self._http.submit(archive, submission.key, options)
        if self._random.random() < 0.3:
            again = self._http.submit(archive, submission.key, options)
            if again != submission.evaluation:
                raise Violation(f"the same key was answered {submission.evaluation} and then {again}")
        if not submission.over.wait(EVALUATION_SECONDS):
            raise Violation(
                f"evaluation {submission.evaluation} is not over after {EVALUATION_SECONDS:g} s: "
                f"{submission.answer.get('state')} {submission.answer.get('tests')}"
            )
        submission.lines = self._http.lines(f"/evaluation/{submission.evaluation}/report.jsonl")
        self._tally.add(submission.evaluation, self._expected, submission.answer, submission.lines)


def look_back(book: Book, url: str) -> None:
    """At the end, with every node up: nothing acknowledged is unknown, changed, or there twice."""
    http = Http(url, book.refusals)
    try:
        for submission in book.submissions:
            if submission.evaluation:
                _unchanged(book, http, submission)
        listed: list[dict[str, Any]] = []
        path: str | None = "/evaluation"
        while path is not None:
            page = http.get(path)
            listed += page["evaluations"]
            path = page["next"]
        acknowledged = {one.evaluation for one in book.submissions if one.evaluation}
        if {one["id"] for one in listed} != acknowledged or len(listed) != len(acknowledged):
            shown = sorted(one["id"] for one in listed)
            book.violated(f"evaluations are listed as {shown}, acknowledged were {sorted(acknowledged)}")
    except Violation as error:
        book.violated(f"at the end: {error}")
    finally:
        http.close()


def _unchanged(book: Book, http: Http, submission: Submission) -> None:
    try:
        answer = http.get(f"/evaluation/{submission.evaluation}")
        lines = http.lines(f"/evaluation/{submission.evaluation}/report.jsonl")
    except Violation as error:
        book.violated(f"acknowledged, and at the end: {error}")
        return
    if not submission.lines:
        return
    if answer["outcomes"] != submission.answer["outcomes"] or _outcomes(lines) != _outcomes(submission.lines):
        book.violated(f"evaluation {submission.evaluation} says something else than when it had ended")


def _outcomes(lines: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return sorted((line["nodeid"], line["occurrence"], line["outcome"]) for line in lines)
