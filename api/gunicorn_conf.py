"""gunicorn's settings; ``python -m api`` starts gunicorn with this module as its configuration."""

from __future__ import annotations

import gc
import os
from typing import Any

from api import logs
from api.settings import load

_settings = load(os.environ)

wsgi_app = "api.app:create_app()"
bind = [address.strip() for address in _settings.bind.split(",")]
worker_class = "gevent"
workers = _settings.workers
worker_connections = _settings.connections
keepalive = 30
# This only notices a stalled event loop; slow bodies have a limit of their own in ``uploads``.
timeout = 60
graceful_timeout = _settings.grace
# The optional C parser brings nothing for small requests and is not always there.
http_parser = "python"
# Its default path is one per user: a second instance would take it over.
control_socket_disable = True
# The application must be imported after the worker was patched, or it gets real locks and sockets.
preload_app = False
proc_name = "testring-api"
logconfig_dict = logs.config(_settings.log_format)


def post_worker_init(_worker: Any) -> None:
    """What was imported stays: keep it out of every later collection."""
    gc.collect()
    gc.freeze()
