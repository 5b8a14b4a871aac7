"""Shallow, hardened clones. Nothing a repository holds is run, and the token is on no disk and no
command line: it is in the environment of the git child, for its own origin, and nowhere else."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import gevent

from node.runner.children import Child, Finished, Job
from node.sources.gitfailures import explain
from node.sources.giturl import GitError, check_ref, check_url, origin, project_name
from node.sources.limits import ArchiveError, ArchiveLimits
from node.sources.names import Kind, NameBook, check_links, entry_parts, tree_links
from node.threads import in_bulk

__all__ = ["Cloner", "Fetched", "GitError", "check_url", "origin", "project_name"]

POLL_SECONDS = 1.0
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.autocrlf=false",
    "credential.helper=",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=20",
    "transfer.fsckObjects=true",
    # Old but harmless slips found in real histories; the dangerous checks stay on.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "submodule.recurse=false",
    "protocol.version=2",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
)


class Spawner(Protocol):
    """What starts children: the warden."""

    def spawn(self, job: Job) -> Child: ...


@dataclass(frozen=True)
class Fetched:
    """A clone without its ``.git``: the tree, the commit it is, and what a person should know."""

    path: Path
    commit: str
    notes: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Cloner:
    """Clones repositories as ``uid`` below ``scratch``, a folder that uid can reach.

    ``wall`` is seconds for one clone; ``ca`` is a certificate bundle used beside the system's.
    """

    warden: Spawner
    scratch: Path
    origins: Sequence[str]
    wall: float = 300.0
    limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    ca: Path | None = None
    uid: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    """Proxy and certificate variables the node was started with."""

    def clone(self, url: str, into: Path, *, ref: str = "", token: str = "") -> Fetched:
        """Fetch one commit of ``url`` (``ref``, or the default branch) into a new folder below ``into``.

        Call it in a greenlet: children and disk work block only that greenlet.

        Raises:
            GitError: one clear line; ``log`` has what git said.
            ArchiveError: the tree breaks a rule (a link that leaves it, too many files).
        """
        url = check_url(url, self.origins)
        wanted = check_ref(ref) if ref else "HEAD"
        place = self.scratch / f"g{secrets.token_hex(4)}"
        tree = place / project_name(url)
        try:
            in_bulk(_prepare, place, tree, self.uid)
            env = self._environment(url, place, token)
            self._git(["init", "-q", "--template=", str(tree)], place, env, url, tree, token, ref)
            fetch = ["fetch", "-q", "--depth", "1", "--no-tags", "--no-recurse-submodules", "--", url, wanted]
            self._git(fetch, tree, env, url, tree, token, ref)
            plain = {name: value for name, value in env.items() if not name.startswith("GIT_CONFIG_")}
            plain |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
            self._git(["checkout", "-q", "--detach", "FETCH_HEAD"], tree, plain, url, tree, token, ref)
            commit, notes = in_bulk(_finish, tree, self.limits)
            return Fetched(in_bulk(_move, tree, into), commit, notes)
        finally:
            in_bulk(shutil.rmtree, place, True)

    def _git(
        self,
        args: list[str],
        cwd: Path,
        env: Mapping[str, str],
        url: str,
        tree: Path,
        token: str,
        ref: str,
    ) -> None:
        program = shutil.which("git", path=env["PATH"])
        if program is None:
            raise GitError("git is not installed on this node: install it, or upload a zip")
        # Measured: after a redirect of its first request git sends the extra header to the new host.
        follow = "http.followRedirects=" + ("false" if token else "initial")
        options = [word for setting in (*_CONFIG, follow) for word in ("-c", setting)]
        child = self.warden.spawn(
            Job(
                argv=[program, *options, *args],
                cwd=cwd,
                env=env,
                uid=self.uid,
                gid=self.uid,
                rlimits={"FSIZE": (self.limits.total, self.limits.total), "CORE": (0, 0)},
                wall=self.wall,
                output_limit=1 << 20,
                name=f"git {args[0]}",
            )
        )
        finished = self._watch(child, tree)
        if not finished.ok:
            raise explain(finished, url=url, ref=ref, token=token, wall=self.wall, limits=self.limits)

    def _watch(self, child: Child, tree: Path) -> Finished:
        """Wait for the child, and end it when the clone outgrows the limit."""
        try:
            while True:
                try:
                    return child.wait(timeout=POLL_SECONDS)
                except gevent.Timeout:
                    if in_bulk(_bytes_below, tree) > 2 * self.limits.total:
                        child.kill("too large")
        except BaseException:
            child.kill("the waiting greenlet was stopped")
            raise

    def _environment(self, url: str, place: Path, token: str) -> dict[str, str]:
        env = {
            **self.variables,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(place),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "GIT_ALLOW_PROTOCOL": url.partition("://")[0],
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_CEILING_DIRECTORIES": str(place),
        }
        bundle = self._bundle(place)
        if bundle is not None:
            env["GIT_SSL_CAINFO"] = str(bundle)
        if token:
            credentials = base64.b64encode(f"x-access-token:{token}".encode()).decode()
            env |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{origin(url)}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {credentials}",
            }
        return env

    def _bundle(self, place: Path) -> Path | None:
        """One file with the system's certificates and the configured ones; None for git's default."""
        system = self.variables.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or ""
        if self.ca is None:
            return Path(self.variables["SSL_CERT_FILE"]) if "SSL_CERT_FILE" in self.variables else None
        try:
            known = Path(system).read_bytes() if system and Path(system).is_file() else b""
            bundle = place / "ca.pem"
            bundle.write_bytes(known + b"\n" + self.ca.read_bytes())
            bundle.chmod(0o644)
        except OSError as error:
            raise GitError(f"TESTRING_GIT_CA {self.ca}: {error.strerror}") from error
        return bundle


def _prepare(place: Path, tree: Path, uid: int | None) -> None:
    tree.mkdir(parents=True, mode=0o700)
    place.chmod(0o700)
    if uid is not None:
        os.chown(tree, uid, uid)
        os.chown(place, uid, uid)


def _finish(tree: Path, limits: ArchiveLimits) -> tuple[str, tuple[str, ...]]:
    """Drop ``.git``, check what is left; returns the commit id and notes."""
    commit = (tree / ".git" / "HEAD").read_text().strip()
    shutil.rmtree(tree / ".git")
    entries = size = 0
    names = NameBook()
    pointers: list[str] = []
    for folder, folders, files in os.walk(tree):
        above = Path(folder).relative_to(tree).as_posix()
        for name in (*folders, *files):
            names.add(entry_parts(f"{above}/{name}", limits), _kind(folder, name))
        entries += len(folders) + len(files)
        if entries > limits.entries:
            raise ArchiveError(f"the repository holds more than {limits.entries} files and folders")
        for name in files:
            path = Path(folder, name)
            if path.is_symlink():
                continue
            file_size = path.stat().st_size
            size += file_size
            if file_size > limits.file or size > limits.total:
                raise ArchiveError("the repository is too large", path.relative_to(tree).as_posix())
            if file_size < 1024 and path.read_bytes().startswith(_LFS_POINTER):
                pointers.append(path.relative_to(tree).as_posix())
    check_links(tree_links(tree), limits)
    notes = []
    if (tree / ".gitmodules").is_file():
        notes.append("submodules are not fetched: their folders are empty")
    if pointers:
        shown = ", ".join(pointers[:3]) + (", ..." if len(pointers) > 3 else "")
        notes.append(f"Git LFS content is not fetched: {len(pointers)} file(s) are pointers ({shown})")
    return commit, tuple(notes)


def _kind(folder: str, name: str) -> Kind:
    path = os.path.join(folder, name)
    if os.path.islink(path):
        return Kind.LINK
    return Kind.FOLDER if os.path.isdir(path) else Kind.FILE


def _move(tree: Path, into: Path) -> Path:
    target = into / tree.name
    if os.geteuid() == 0:
        os.chown(tree, 0, 0)
    shutil.move(tree, target)
    return target


def _bytes_below(tree: Path) -> int:
    total = 0
    for folder, _, files in os.walk(tree):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue  # git renames its temporary files meanwhile
    return total
