"""What git's words mean for the person who gave the URL: one clear line per kind of failure."""

from __future__ import annotations

import base64
import re

from node.runner.children import Finished
from node.sources.giturl import GitError
from node.sources.limits import ArchiveLimits

_KINDS: tuple[tuple[str, str], ...] = (
    (r"Could not resolve host", "{url}: the host name is not known"),
    (r"Failed to connect|Connection refused|Couldn't connect", "{url}: the host does not answer"),
    (r"SSL|certificate", "{url}: the host's certificate is not trusted (set TESTRING_GIT_CA)"),
    (
        r"couldn't find remote ref|not our ref|unadvertised object",
        "{url}: there is no branch, tag or commit {ref} (a commit needs its full id)",
    ),
    (
        r"could not read Username|Authentication failed|returned error: 40[13]|terminal prompts disabled",
        "{url}: not found, or private{token_hint}",
    ),
    (
        r"returned error: 30\d|unable to update url base from redirection",
        "{url}: the repository has moved, and a token is not taken along: give its new URL",
    ),
    (r"not found|returned error: 404", "{url}: not found, or private{token_hint}"),
    (r"transport '.*' not allowed", "{url}: the host redirects to a protocol that is not allowed"),
    (
        r"too slow|Operation timed out|Connection timed out|timed out",
        "{url}: the host was too slow to answer",
    ),
    (r"No space left", "this node's disk is full: free some space"),
    (r"File size limit|too large|died of signal 25", "{url}: larger than {total} bytes"),
    (r"unable to create symlink|invalid path|fsck|unsafe|malicious", "{url}: refused by git as unsafe"),
    (r"Remote branch .* not found|HEAD", "{url}: the repository is empty or has no default branch"),
)


def explain(
    finished: Finished, *, url: str, ref: str, token: str, wall: float, limits: ArchiveLimits
) -> GitError:
    """The error for a git child that failed; neither message nor log holds the token."""
    said = redact(finished.output, token)
    log = said[-8000:]
    if finished.why == "wall":
        return GitError(f"{url}: not cloned within {wall:g} seconds (TESTRING_TIMEOUT_CLONE)", log)
    if finished.why == "killed" or finished.signal == "SIGXFSZ":
        return GitError(f"{url}: larger than {limits.total} bytes (TESTRING_MAX_UNPACKED)", log)
    for pattern, message in _KINDS:
        if re.search(pattern, said, re.IGNORECASE):
            hint = " and the token does not open it" if token else "; a private repository needs auth_token"
            return GitError(
                message.format(url=url, ref=ref or "HEAD", total=limits.total, token_hint=hint), log
            )
    lines = [line for line in said.splitlines() if line.startswith(("fatal:", "error:"))]
    reason = lines[0] if lines else finished.message or f"git ended with {finished.exit_code}"
    return GitError(f"{url}: {reason[:300]}", log)


def redact(text: str, token: str) -> str:
    """``text`` without the token, in any form it is sent in, and without any URL's credentials."""
    if token:
        for form in (token, base64.b64encode(f"x-access-token:{token}".encode()).decode()):
            text = text.replace(form, "***")
    return re.sub(r"(https?://)[^/\s@]+@", r"\1***@", text)
