"""A multipart form with one file, read from disk while it is sent: memory does not grow with the file."""

from __future__ import annotations

import secrets
from pathlib import Path
from types import TracebackType


class FileForm:
    """The body of a form upload: text fields first, then the field ``file``.

    Args:
        path: the file; it must not change while it is sent.
        fields: text fields.
    """

    def __init__(self, path: Path, fields: dict[str, str]) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{_quoted(path.name)}"\r\nContent-Type: application/zip\r\n\r\n'
        )
        self._file = path.open("rb")
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._length = len(self._head) + path.stat().st_size + len(self._tail)

    def __enter__(self) -> FileForm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        if self._head:
            taken, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
            return taken + (self.read(-1) if size < 0 else b"")
        data = self._file.read(size)
        if size < 0 or not data:
            taken, self._tail = (self._tail, b"") if size < 0 else (self._tail[:size], self._tail[size:])
            return data + taken
        return data


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
