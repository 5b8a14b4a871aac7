"""The service's log: one line per event, whatever happened."""

from __future__ import annotations

import json
import logging.config
import sys

from api import logs


def record(message: str, failed: bool = False) -> logging.LogRecord:
    error = None
    if failed:
        try:
            raise ValueError("why")
        except ValueError:
            error = sys.exc_info()
    return logging.LogRecord("gunicorn.error", logging.WARNING, "f", 1, message, (), error)


def test_an_event_is_one_line_of_json() -> None:
    line = logs.JsonLines().format(record("two\nlines", failed=True))
    assert "\n" not in line
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("warning", "gunicorn.error", "two\nlines")
    assert "ValueError: why" in said["exception"]
    assert "exception" not in json.loads(logs.JsonLines().format(record("fine")))


def test_the_configuration_is_one_that_logging_takes() -> None:
    for kind in ("text", "json"):
        logging.config.DictConfigurator(logs.config(kind))
        assert logs.config(kind)["handlers"]["stderr"]["formatter"] == kind
