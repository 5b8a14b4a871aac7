"""The one error tree of CDProto. Each class has the code that travels in an ERROR frame."""

from __future__ import annotations


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
    """No protocol version is spoken by both sides."""

    code = "bad-version"


class BadFrame(RemoteProtocolError):
    """A header field has a value that this version does not know."""

    code = "bad-frame"


class FrameTooLarge(RemoteProtocolError):
    """A frame announces more than its type may carry; nothing of it was read."""

    code = "frame-too-large"


class UnexpectedFrame(RemoteProtocolError):
    """The frame is not allowed in this state."""

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
    """The peer sent file bytes that it had no credit for."""

    code = "window-exceeded"


class Silence(RemoteProtocolError):
    """Nothing was heard for longer than the limit, pings unanswered."""

    code = "silence"


class PeerReported(ProtocolError):
    """The peer sent an ERROR frame: what it says this side did wrong."""

    code = "peer-reported"

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"the peer reports {code}: {reason}")
        self.reported = code
        self.reason = reason
