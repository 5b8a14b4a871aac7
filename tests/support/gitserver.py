"""A real smart-HTTP git server on loopback: ``git http-backend`` behind a small CGI handler."""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

GIT_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


class GitServer:
    """Serves bare repositories below ``root`` as ``URL/OWNER/NAME.git``.

    A repository named in ``tokens`` answers only to Basic credentials with that password, as forges
    take access tokens. ``seen`` collects (path, Authorization header) of every request.
    """

    def __init__(
        self, root: Path, tls: ssl.SSLContext | None = None, address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.root = root
        self.scheme = "https" if tls else "http"
        self.tokens: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        """Owner/name -> URL that its requests are redirected to."""
        self.hang: set[str] = set()
        """Owner/name of repositories that never answer."""
        self.released = threading.Event()
        self.seen: list[tuple[str, str]] = []
        root.mkdir(parents=True, exist_ok=True)
        server = self

        class Handler(_Handler):
            git = server

        self._http = ThreadingHTTPServer(address, Handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._http.serve_forever, name="git server", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The origin, ``http://127.0.0.1:PORT`` (``https`` with a TLS context)."""
        return f"{self.scheme}://127.0.0.1:{self._http.server_port}"

    def repository(self, name: str, files: Mapping[str, str | bytes], *, token: str = "") -> str:
        """Make (or add a commit to) a repository ``OWNER/NAME``; returns its clone URL.

        A value that starts with ``link:`` becomes a symbolic link; a path ending in ``*`` is executable.
        """
        work = self.root / "work" / name
        bare = self.root / "served" / f"{name}.git"
        if not bare.exists():
            work.mkdir(parents=True)
            git("init", "-q", "-b", "main", str(work))
        for path, content in files.items():
            write_file(work, path, content)
        git("-C", str(work), "add", "-A", "-f")
        git("-C", str(work), "commit", "-q", "--allow-empty", "-m", "commit")
        self.publish(name)
        if token:
            self.tokens[name] = token
        return f"{self.url}/{name}.git"

    def publish(self, name: str) -> None:
        """Serve what the work tree of ``OWNER/NAME`` has committed, all branches and tags."""
        work = self.root / "work" / name
        bare = self.root / "served" / f"{name}.git"
        if not bare.exists():
            git("init", "-q", "--bare", "-b", "main", str(bare))
            git("-C", str(bare), "config", "http.receivepack", "false")
            git("-C", str(bare), "config", "uploadpack.allowReachableSHA1InWant", "true")
        git("-C", str(work), "push", "-q", "--mirror", str(bare))

    def commit(self, name: str) -> str:
        """The commit id of the default branch."""
        return git("-C", str(self.root / "work" / name), "rev-parse", "HEAD")

    def close(self) -> None:
        """Stop serving."""
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def git(*args: str, data: bytes | None = None) -> str:
    """Run git as the tests' own user; returns its output."""
    done = subprocess.run(["git", *args], env=GIT_ENV, input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def write_file(root: Path, path: str, content: str | bytes) -> None:
    """One file of a work tree; see ``GitServer.repository``."""
    target = root / path.removesuffix("*")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str) and content.startswith("link:"):
        target.symlink_to(content.removeprefix("link:"))
        return
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    if path.endswith("*"):
        target.chmod(0o755)


class _Handler(BaseHTTPRequestHandler):
    git: GitServer

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body: bytes) -> None:
        split = urlsplit(self.path)
        name = "/".join(split.path.strip("/").split("/")[:2]).removesuffix(".git")
        sent = self.headers.get("Authorization", "")
        self.git.seen.append((split.path, sent))
        if name in self.git.hang:
            self.git.released.wait(60)
            return
        if name in self.git.redirects:
            rest = split.path.partition(".git")[2]
            self._plain(302, {"Location": f"{self.git.redirects[name]}{rest}?{split.query}"})
        elif name in self.git.tokens and sent != _basic(self.git.tokens[name]):
            self._plain(401, {"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend(split.path, split.query, body)

    def _plain(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, path: str, query: str, body: bytes) -> None:
        environ = {
            **GIT_ENV,
            "GIT_PROJECT_ROOT": str(self.git.root / "served"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        program = shutil.which("git") or "git"
        done = subprocess.run(
            [program, "http-backend"], env=environ, input=body, capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Requests are kept in ``seen``, not printed."""


def _basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
