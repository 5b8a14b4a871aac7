"""Reports made from pages of verdicts, written as they are read: memory does not grow with the run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from api.client import NodeClient
from api.schemas import TestPage, TestRecord
from proto.messages import GetTests, Response

LINES_PAGE = 1024
"""Verdicts asked for at once; halved as often as the node finds a page too large (413) for one answer."""
CASES_PAGE = 128
"""The same where texts are shown: the node shortens the texts of a page to what fits one answer."""
PENDING = "pending"
"""What the node shows for a planned test without a verdict."""
IN_MEMORY = 4 << 20
"""Bytes of one suite's cases that are held before they go to a file."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_pages: msgspec.json.Decoder[TestPage] = msgspec.json.Decoder(TestPage)
_encoder = msgspec.json.Encoder()


class ReportBroken(Exception):
    """A later page could not be had: the report ends in the middle and must look so to the client."""


class Pages:
    """The planned tests of one evaluation in order, with or without a verdict; iterate once.

    ``first`` is the node's answer to the first page: if its status is not 200 there is no report and
    that answer is the answer.
    """

    def __init__(self, client: NodeClient, evaluation: int, project: str, limit: int) -> None:
        self._client = client
        self._evaluation = evaluation
        self._project = project
        self._limit = limit
        self._offset = 0
        self.first: Response = self._ask()

    def __iter__(self) -> Iterator[TestRecord]:
        response = self.first
        while True:
            page = _pages.decode(response.body)
            yield from page.tests
            if page.next is None:
                return
            self._offset += self._limit
            response = self._ask()
            if response.status != 200:
                raise ReportBroken(
                    f"evaluation {self._evaluation}: the node answered {response.status} for the verdicts "
                    f"from {self._offset} on"
                )

    def _ask(self) -> Response:
        while True:
            # The offset is a multiple of every limit used so far, for each is half of the one before.
            page = self._offset // self._limit + 1
            response = self._client.ask(
                GetTests(evaluation=self._evaluation, project=self._project, page=page, limit=self._limit)
            )
            if response.status != 413 or self._limit == 1:
                return response
            self._limit //= 2


def json_lines(records: Iterator[TestRecord]) -> Iterator[bytes]:
    """One JSON object a line, one line per verdict."""
    batch = bytearray()
    for record in records:
        if record.outcome == PENDING:
            continue
        line = {
            "project": record.project,
            "module": record.module,
            "nodeid": record.nodeid,
            "occurrence": record.occurrence,
            "outcome": record.outcome,
            "seconds": record.seconds,
            "worker": record.worker,
            "attempts": record.attempts,
            "message": record.message,
        }
        batch += _encoder.encode(line) + b"\n"
        if len(batch) >= 65_536:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


def junit_xml(records: Iterator[TestRecord], name: str, spool: Path) -> Iterator[bytes]:
    """JUnit XML: one ``testsuite`` per project, one ``testcase`` per verdict.

    A suite's head carries its totals, so its cases wait in memory, or in a file in ``spool`` once they
    are many, until the last one is known.
    """
    yield f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name={_attribute(name)}>\n'.encode()
    suite: _Suite | None = None
    try:
        for record in records:
            if suite is not None and record.project != suite.project:
                yield from suite.written()
                suite.close()
                suite = None
            suite = suite or _Suite(record.project, spool)
            suite.add(record)
        if suite is not None:
            yield from suite.written()
    finally:
        if suite is not None:
            suite.close()
    yield b"</testsuites>\n"


class _Suite:
    """The cases of one project and their totals."""

    def __init__(self, project: str, spool: Path) -> None:
        self.project = project
        self.totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        self.seconds = 0.0
        self._cases: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(spool))  # noqa: SIM115 - closed in ``close``

    def add(self, record: TestRecord) -> None:
        kind = _KINDS.get(record.outcome, "")
        self.totals["tests"] += 1
        if kind:
            self.totals[_TOTALS[kind]] += 1
        self.seconds += record.seconds or 0.0
        self._cases.write(_case(record, kind).encode())

    def written(self) -> Iterator[bytes]:
        totals = " ".join(f'{key}="{count}"' for key, count in self.totals.items())
        yield f'<testsuite name={_attribute(self.project)} {totals} time="{self.seconds:.3f}">\n'.encode()
        self._cases.seek(0)
        while block := self._cases.read(65_536):
            yield block
        yield b"</testsuite>\n"

    def close(self) -> None:
        self._cases.close()


_KINDS = {
    "failed": "failure",
    "error": "error",
    "timeout": "error",
    "crashed": "error",
    "lost": "error",
    "notrun": "error",
    # None are left in a final state; if one were, it must not read as passed.
    PENDING: "error",
    "skipped": "skipped",
    # As pytest's own JUnit file has it: a failure that was expected did not test anything.
    "xfailed": "skipped",
}
"""Outcome -> element of the case; the others (``passed``, ``xpassed``) have none."""
_TOTALS = {"failure": "failures", "error": "errors", "skipped": "skipped"}
_TYPES = {"skipped": "pytest.skip", "xfailed": "pytest.xfail"}


def _case(record: TestRecord, kind: str) -> str:
    classname, name = junit_names(record.nodeid)
    parts = [
        f"<testcase classname={_attribute(classname)} name={_attribute(name)}"
        f' time="{max(0.0, record.seconds or 0.0):.3f}"'
    ]
    inner = ""
    if kind:
        kind_type = _TYPES.get(record.outcome, record.outcome)
        message = _attribute(record.message or record.outcome)
        text = _text(record.traceback or "")
        inner = f'<{kind} type="{kind_type}" message={message}>{text}</{kind}>'
    if record.output:
        inner += f"<system-out>{_text(record.output)}</system-out>"
    parts.append(f">{inner}</testcase>\n" if inner else "/>\n")
    return "".join(parts)


def junit_names(nodeid: str) -> tuple[str, str]:
    """(classname, name) as pytest's JUnit has it: ``tests/a.py::T::t[x]`` -> ``tests.a.T``, ``t[x]``."""
    address, bracket, parameters = nodeid.partition("[")
    names = address.split("::")
    names[0] = names[0].replace("/", ".").removesuffix(".py")
    return ".".join(names[:-1]), names[-1] + bracket + parameters


def _clean(value: Any) -> str:
    """XML has no way to write control characters or lone surrogates: they become ``#x1B``."""
    return _FORBIDDEN.sub(lambda match: f"#x{ord(match[0]):02X}", str(value))


def _attribute(value: str) -> str:
    return quoteattr(_clean(value))


def _text(value: str) -> str:
    return escape(_clean(value), {"\r": "&#13;"})
