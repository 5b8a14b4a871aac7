"""Which of the node's own environment variables reach git and build children. Tests get none."""

from __future__ import annotations

from collections.abc import Mapping

_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY")
_BUILD_PREFIXES = ("UV_", "PIP_")
_OURS = ("UV_CACHE_DIR", "UV_LINK_MODE", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON")
"""Set by the build itself, whatever the node was started with."""


def network_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Certificates and proxies: what a child needs to reach the outside."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in _NETWORK or name.upper().endswith("_PROXY")
    }


def build_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The network's, and the settings of uv and pip (indexes, certificates, timeouts)."""
    tools = {
        name: value
        for name, value in environ.items()
        if name.startswith(_BUILD_PREFIXES) and name not in _OURS
    }
    return network_variables(environ) | tools
