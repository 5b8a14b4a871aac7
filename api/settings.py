"""Every setting of the HTTP service: one frozen object, read from ``TESTRING_*`` once and checked once."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

SCOPES = ("read", "submit")
"""``submit`` includes ``read``."""

UNSET = Path()
"""Replaced by ``load`` with a place that depends on the environment."""


class SettingsError(Exception):
    """A setting is wrong; the message names it and the remedy."""


def _about(variable: str, text: str, parse: Callable[[str], Any] = str) -> dict[str, Any]:
    return {"variable": variable, "help": text, "parse": parse}


def _size(text: str) -> int:
    """Bytes from ``512M``, ``2GiB``, ``1000``."""
    number = text.strip().lower().removesuffix("ib").removesuffix("b")
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    return int(float(number.rstrip("kmgt")) * units.get(number[-1:], 1))


def _switch(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


def _tokens(text: str) -> tuple[tuple[str, str], ...]:
    """``TOKEN:SCOPE`` pairs; the scope follows the last colon."""
    pairs = []
    for part in text.replace(" ", ",").split(","):
        if part.strip():
            token, colon, scope = part.strip().rpartition(":")
            if not colon or not token or scope not in SCOPES:
                raise ValueError("each entry is TOKEN:read or TOKEN:submit")
            pairs.append((token, scope))
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Sizes are bytes and times are seconds. Tokens never appear in ``repr``."""

    socket: Path = field(
        default=UNSET,
        metadata=_about(
            "TESTRING_SOCKET",
            "control socket of the master; default $XDG_RUNTIME_DIR/testring/master.sock "
            "or /tmp/testring-UID/master.sock",
            Path,
        ),
    )
    bind: str = field(
        default="127.0.0.1:8080",
        metadata=_about("TESTRING_API_BIND", "HOST:PORT of the HTTP service, or several separated by commas"),
    )
    workers: int = field(default=1, metadata=_about("TESTRING_API_WORKERS", "gunicorn worker processes", int))
    connections: int = field(
        default=2000, metadata=_about("TESTRING_API_CONNECTIONS", "HTTP connections of one worker", int)
    )
    tokens: tuple[tuple[str, str], ...] = field(
        default=(),
        repr=False,
        metadata=_about(
            "TESTRING_API_TOKENS",
            "bearer tokens as TOKEN:SCOPE, separated by commas; scopes: read, submit (includes read)",
            _tokens,
        ),
    )
    tokens_file: Path | None = field(
        default=None,
        metadata=_about(
            "TESTRING_API_TOKENS_FILE", "file with more such entries, one a line (a mounted secret)", Path
        ),
    )
    published: str = field(
        default="",
        metadata=_about(
            "TESTRING_API_PUBLISHED",
            "in a container: HOST:PORT that its engine publishes the service on; on loopback no tokens "
            "are needed, whatever the service binds inside",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_about("TESTRING_LOG_FORMAT", "text or json: one line per event on stderr"),
    )
    insecure: bool = field(
        default=False,
        metadata=_about("TESTRING_API_INSECURE", "1: serve beyond loopback without tokens", _switch),
    )
    max_upload: int = field(
        default=512 << 20, metadata=_about("TESTRING_MAX_UPLOAD", "largest archive taken in, bytes", _size)
    )
    max_uploads: int = field(
        default=16, metadata=_about("TESTRING_MAX_UPLOADS", "archives one worker receives at once", int)
    )
    max_json: int = field(
        default=1 << 20, metadata=_about("TESTRING_MAX_JSON", "largest JSON body taken in, bytes", _size)
    )
    spool: Path = field(
        default=UNSET,
        metadata=_about(
            "TESTRING_SPOOL", "directory for uploads on their way to a node; default TMPDIR", Path
        ),
    )
    body_timeout: float = field(
        default=600.0,
        metadata=_about("TESTRING_BODY_TIMEOUT", "seconds a client has to send a request body", float),
    )
    read_timeout: float = field(
        default=10.0, metadata=_about("TESTRING_READ_TIMEOUT", "seconds a node has to answer a query", float)
    )
    submit_timeout: float = field(
        default=120.0,
        metadata=_about("TESTRING_SUBMIT_TIMEOUT", "seconds a node has to take in a submission", float),
    )
    grace: int = field(
        default=30,
        metadata=_about(
            "TESTRING_API_GRACE", "seconds that requests under way, and idle connections, get on SIGTERM", int
        ),
    )
    connect_timeout: float = field(
        default=3.0,
        metadata=_about("TESTRING_CONNECT_TIMEOUT", "seconds a node is looked for before 503", float),
    )


def load(environ: Mapping[str, str]) -> Settings:
    """The settings in ``environ``; empty variables count as absent.

    Raises:
        SettingsError: a value cannot be read, or values do not fit together.
    """
    values: dict[str, Any] = {}
    for item in fields(Settings):
        variable, parse = item.metadata["variable"], item.metadata["parse"]
        raw = environ.get(variable, "")
        if raw == "":
            continue
        try:
            values[item.name] = parse(raw)
        except ValueError as error:
            shown = "its value" if item.name == "tokens" else repr(raw)
            raise SettingsError(
                f"{variable}: {shown} is not valid ({item.metadata['help']}): {error}"
            ) from error
    values["tokens"] = values.get("tokens", ()) + _tokens_from(values.get("tokens_file"))
    values.setdefault("socket", default_socket(environ))
    values.setdefault("spool", Path(tempfile.gettempdir()))
    settings = Settings(**values)
    _check(settings)
    return settings


def _tokens_from(file: Path | None) -> tuple[tuple[str, str], ...]:
    if file is None:
        return ()
    try:
        return _tokens(",".join(file.read_text(encoding="utf-8").split()))
    except OSError as error:
        raise SettingsError(f"TESTRING_API_TOKENS_FILE: {file}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"TESTRING_API_TOKENS_FILE: {file}: {error}") from error


def default_socket(environ: Mapping[str, str]) -> Path:
    """Where a node of this user binds its control socket unless told otherwise."""
    runtime = environ.get("TESTRING_SOCKET_DIR") or ""
    if not runtime:
        base = environ.get("XDG_RUNTIME_DIR", "")
        runtime = f"{base}/testring" if base else f"/tmp/testring-{os.getuid()}"
    return Path(runtime) / "master.sock"


def _check(settings: Settings) -> None:
    if settings.log_format not in ("text", "json"):
        raise SettingsError(f"TESTRING_LOG_FORMAT: {settings.log_format!r}: choose text or json")
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise SettingsError(f"{item.metadata['variable']} must be more than 0, not {value}")
    if not settings.spool.is_dir() or not os.access(settings.spool, os.W_OK | os.X_OK):
        raise SettingsError(f"TESTRING_SPOOL: {settings.spool} is not a directory that can be written to")
    for bind in settings.bind.split(","):
        _check_bind(bind.strip(), settings)


def _check_bind(bind: str, settings: Settings) -> None:
    if bind.startswith("unix:"):
        # The file's permissions are the guard.
        return
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise SettingsError(f"TESTRING_API_BIND: {bind!r} is not an address: write HOST:PORT")
    if settings.tokens or settings.insecure:
        return
    reached = settings.published.rpartition(":")[0] if settings.published else host
    if not _is_loopback(reached.strip("[]")):
        raise SettingsError(
            f"serving on {settings.published or bind} lets others run code here: give bearer tokens with "
            "TESTRING_API_TOKENS=TOKEN:submit,..., or keep to 127.0.0.1, or set TESTRING_API_INSECURE=1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
