"""Which URLs may be cloned: http(s) on allowed origins, and nothing that git could read as an option."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from node.sources.limits import SourceError, printable


class GitError(SourceError):
    """A repository cannot be had. ``log`` is what git said, bounded, without secrets."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


_PATH = re.compile(r"(/[A-Za-z0-9_.~][A-Za-z0-9_.~+-]*){2,10}/?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_REF = re.compile(r"[A-Za-z0-9_.@/+#=][A-Za-z0-9_.@/+#=,-]*")
_PORTS = {"https": 443, "http": 80}


def check_url(url: str, origins: Iterable[str]) -> str:
    """The URL in its plain form (no trailing slash), if it may be cloned.

    ``origins`` are ``https://host[:port]``; ``http://`` is taken for loopback addresses only.

    Raises:
        GitError: naming the URL and what is wrong with it.
    """
    shown = printable(url)
    if any(ord(c) < 33 or ord(c) == 127 for c in url) or url.startswith("-") or len(url) > 512:
        raise GitError(f"{shown}: not a URL")
    scheme = url.partition("://")[0]
    if scheme not in _PORTS:
        raise GitError(f"{shown}: only https:// URLs are cloned")
    if "@" in url.partition("://")[2].partition("/")[0]:
        # Not shown: what stands before the @ may be a password.
        raise GitError("a URL with a user name or password: give the token in auth_token instead")
    if "?" in url or "#" in url:
        raise GitError(f"{shown}: a repository's URL has no query and no fragment")
    home = origin(url)
    split = urlsplit(url)
    allowed = [origin(item) for item in origins]
    if home not in allowed:
        raise GitError(
            f"{shown}: this host is not allowed; allowed: {', '.join(allowed)} (set TESTRING_GIT_HOSTS)"
        )
    if scheme == "http" and not is_loopback(split.hostname or ""):
        raise GitError(f"{shown}: plain http is for loopback addresses only; use https")
    if not _PATH.fullmatch(split.path) or any(part in (".", "..") for part in split.path.split("/")):
        raise GitError(f"{shown}: not the URL of a repository; write {home}/OWNER/REPOSITORY")
    return home + split.path.rstrip("/")


def origin(url: str) -> str:
    """``scheme://host[:port]`` in lower case, without a default port.

    Raises:
        GitError: there is no such part.
    """
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port
    except ValueError:
        raise GitError(f"{printable(url)}: not a URL") from None
    bare = host.strip("[]")
    if split.scheme not in _PORTS or not (_HOST.fullmatch(bare) or _is_address(bare)):
        raise GitError(f"{printable(url)}: not a URL")
    shown = f"[{bare}]" if ":" in bare else bare
    tail = "" if port in (None, _PORTS[split.scheme]) else f":{port}"
    return f"{split.scheme}://{shown}{tail}"


def project_name(url: str) -> str:
    """The repository's name: the URL's last part without ``.git``."""
    return url.rstrip("/").rpartition("/")[2].removesuffix(".git")


def check_ref(ref: str) -> str:
    """A branch, tag or full commit id that git cannot read as an option or a refspec.

    Raises:
        GitError: it is not one.
    """
    if len(ref) > 250 or not _REF.fullmatch(ref) or ".." in ref or "@{" in ref or ref.startswith("+"):
        raise GitError(f"{printable(ref)}: not a branch, tag or commit id (option ref)")
    return ref


def is_loopback(host: str) -> bool:
    """``localhost`` or an address of the loopback network."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
