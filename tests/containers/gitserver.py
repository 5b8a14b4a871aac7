"""``python -m tests.containers.gitserver DIRECTORY``: a git server of its own container, over TLS.

``DIRECTORY`` holds ``ca/ca.pem`` and ``key.pem``. It serves two repositories; one wants the token.
"""

from __future__ import annotations

import ssl
import sys
import threading
from pathlib import Path

from tests.support.gitserver import GitServer

PORT = 8443
TOKEN = "a-token-that-must-stay-secret"
FILES = {"test_it.py": "def test_it(): pass\n\n\ndef test_that(): pass\n"}


def main(directory: Path) -> None:
    """Serve until killed."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "ca" / "ca.pem", directory / "key.pem")
    server = GitServer(Path("/tmp/git"), address=("0.0.0.0", PORT), tls=tls)
    server.repository("course/open", FILES)
    server.repository("course/private", FILES, token=TOKEN)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
