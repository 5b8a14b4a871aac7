"""The one error tree of CDProto. Each class has the code that travels in an ERROR frame."""

from __future__ import annotations

REASON = 500
"""Characters of a reason that are sent or kept."""


def one_line(text: str, bound: int = REASON) -> str:
    """``text`` as one printable line of at most ``bound`` characters: a peer's words end up in logs."""
    line = "".join(c if c.isprintable() else "?" for c in text[:bound])
    return line if len(text) <= bound else line[: bound - 3] + "..."


class ProtocolError(Exception):
    """Base: the connection cannot go on. ``code`` is the wire code."""

    code = "protocol-error"


class LocalProtocolError(ProtocolError):
    """This side was about to break the protocol: a bug here, nothing was sent."""

    code = "local"


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; it is told so and the connection ends."""


class BadMagic(RemoteProtocolError):
    """The bytes are not CDProto (HTTP, TLS, noise)."""

    code = "bad-magic"


class BadVersion(RemoteProtocolError):
    """No protocol version is spoken by both sides, or a frame is not of the agreed one."""

    code = "bad-version"


class BadFrame(RemoteProtocolError):
    """A header field has a value that this version does not know."""

    code = "bad-frame"


class FrameTooLarge(RemoteProtocolError):
    """A frame announces more than its type may carry; nothing of it was read."""

    code = "frame-too-large"


class UnexpectedFrame(RemoteProtocolError):
    """The frame is not allowed in this state or on this connection."""

    code = "unexpected-frame"


class BadMessage(RemoteProtocolError):
    """The payload is not a message of this protocol, or a field has the wrong type."""

    code = "bad-message"


class AuthenticationFailed(RemoteProtocolError):
    """The peer could not prove that it holds the cluster's secret."""

    code = "authentication-failed"


class HandshakeTimeout(RemoteProtocolError):
    """The handshake did not complete in time."""

    code = "handshake-timeout"


class HandshakeTooLong(RemoteProtocolError):
    """More bytes came before the handshake's end than may."""

    code = "handshake-too-long"


class WindowExceeded(RemoteProtocolError):
    """The peer sent file bytes that it had no credit for, or gave credit for more than was sent."""

    code = "window-exceeded"


class Silence(RemoteProtocolError):
    """Nothing was heard for longer than the limit, pings unanswered."""

    code = "silence"


class PeerReported(ProtocolError):
    """The peer sent an ERROR frame: what it says this side did wrong.

    ``reported`` is the peer's code (``closed``: an orderly end), ``reason`` its words, made printable.
    """

    code = "peer-reported"

    def __init__(self, code: str, reason: str) -> None:
        self.reported = one_line(code, 64)
        self.reason = one_line(reason)
        super().__init__(f"the peer reports {self.reported}: {self.reason}")


CLOSED = "closed"
"""The code of an ERROR frame that reports no error: its sender ends the connection in good order."""

CODES: dict[str, type[RemoteProtocolError]] = {cls.code: cls for cls in RemoteProtocolError.__subclasses__()}
"""Every code that stands for a broken rule, in the order of this module."""
