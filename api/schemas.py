"""What clients send and what reports read, as typed structs: one decode checks everything."""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta, Struct

from api.problems import Problem
from proto.messages import Name, Options

MAX_PROJECTS = 1000
MAX_KEY = 255
"""Characters of an ``Idempotency-Key``."""


class Submission(Struct, frozen=True, kw_only=True):
    """The JSON body of ``POST /evaluation``."""

    projects: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...],
        Meta(min_length=1, max_length=MAX_PROJECTS),
    ]
    auth_token: Name | None = None
    options: Options = Options()


class TestRecord(Struct, frozen=True, kw_only=True):
    """One verdict of a ``GetTests`` page."""

    __test__ = False

    project: str
    module: str
    nodeid: str
    outcome: str
    occurrence: int = 0
    seconds: float | None = None
    worker: str | None = None
    message: str | None = None
    output: str | None = None
    traceback: str | None = None
    attempts: tuple[msgspec.Raw, ...] = ()
    """Passed on as they are."""


class TestPage(Struct, frozen=True, kw_only=True):
    """One page of verdicts; ``next`` is the following page's number."""

    __test__ = False

    tests: tuple[TestRecord, ...]
    next: int | None = None


class EvaluationState(Struct, frozen=True, kw_only=True):
    """The part of an evaluation's answer that reports need."""

    state: str


class Accepted(Struct, frozen=True, kw_only=True):
    """The part of a 202 that the ``Location`` header needs."""

    id: int


_submission: msgspec.json.Decoder[Submission] = msgspec.json.Decoder(Submission)
_options: msgspec.json.Decoder[Options] = msgspec.json.Decoder(Options)
_keys: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPTION_NAMES = frozenset(Options.__struct_fields__)
_AT = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>[^`]*)`")


def submission(body: bytes) -> Submission:
    """A JSON submission.

    Raises:
        Problem: 400 if it is not JSON, 422 naming the field if it does not fit.
    """
    try:
        decoded = _submission.decode(body)
        misplaced = _OPTION_NAMES & _keys.decode(body).keys()
    except msgspec.ValidationError as error:
        _unfit(error, "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from error
    if misplaced:
        name = min(misplaced)
        raise Problem(422, f"{name} is an option: put it inside the object 'options'", field=name)
    for index, url in enumerate(decoded.projects):
        if not url.strip():
            field = f"projects[{index}]"
            raise Problem(422, f"{field} is an empty string; give a git URL", field=field)
    return decoded


def options(text: bytes | str) -> Options:
    """The options object that comes beside an archive.

    Raises:
        Problem: 400 if it is not JSON, 422 naming the option if it does not fit.
    """
    try:
        return _options.decode(text)
    except msgspec.ValidationError as error:
        _unfit(error, "options")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"options is not valid JSON: {error}", field="options") from error


def request_id(key: str | None, caller: str) -> str:
    """The name under which a submission is done once: from the ``Idempotency-Key``, else a fresh one.

    Raises:
        Problem: 422 for an empty or overlong key.
    """
    if key is None:
        return uuid.uuid4().hex
    if not key.strip() or len(key) > MAX_KEY:
        raise Problem(
            422,
            f"Idempotency-Key must have 1 to {MAX_KEY} characters",
            field="Idempotency-Key",
            limit=MAX_KEY,
        )
    # Two callers may happen to choose the same key.
    return "key-" + hashlib.sha256(f"{caller}\0{key}".encode("utf-8", "surrogateescape")).hexdigest()


def whole_number(text: str | None, name: str, default: int, *, low: int, high: int) -> int:
    """A query parameter that is a whole number from ``low`` to ``high``.

    Raises:
        Problem: 422 naming it.
    """
    if text is None:
        return default
    # int() also takes signs, blanks, underscores and other scripts' digits.
    if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
        raise Problem(
            422, f"{name} must be a whole number from {low} to {high}, not {text[:40]!r}", field=name
        )
    return int(text)


def _unfit(error: msgspec.ValidationError, prefix: str) -> NoReturn:
    """Turn msgspec's words into a 422 whose ``field`` is the path of what is wrong."""
    text = str(error)
    at = _AT.search(text)
    path = at["path"] if at else ""
    what = text[: at.start()] if at else text
    unknown = _UNKNOWN.match(what)
    parts = [part for part in (prefix, path, unknown["name"] if unknown else "") if part]
    field = ".".join(parts)
    members: dict[str, Any] = {"field": field} if field else {}
    if unknown and "unknown" in what:
        detail = f"unknown option {unknown['name']!r}; known are {', '.join(sorted(_OPTION_NAMES))}"
    elif unknown:
        detail = f"{unknown['name']!r} is missing"
    else:
        detail = f"{field or 'the body'}: {what[:1].lower()}{what[1:]}"
    raise Problem(422, detail, **members) from error
