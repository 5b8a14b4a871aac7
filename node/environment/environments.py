"""The node's environments: built once per content, shared by those who ask at once, bounded on disk."""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gevent
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

from node.environment.build import Built, bare, build
from node.environment.declared import Plan, plan
from node.environment.errors import InterpreterError
from node.environment.interpreter import Interpreter, Interpreters
from node.environment.kept import Environment, Record, keep, key_of, load
from node.environment.uv import Uv, failure
from node.sources.limits import ArchiveLimits, disk_error
from node.sources.packing import unpack
from node.threads import in_bulk
from node.treecopy import tree_bytes
from node.workspace import Workspace
from proto.messages import Options

log = logging.getLogger("testring.environment")
BUILD_ROOM = 256 << 20
"""Bytes that must be free before a build starts."""
CACHE_SHARE = 0.25
"""uv's downloads may take this part of ``limit`` in addition."""


class _BuilderGone(Exception):
    """The greenlet that built was killed."""


@dataclass(kw_only=True)
class Environments:
    """``limit`` is the bytes kept on disk beyond what is in use."""

    uv: Uv
    site: Workspace
    interpreters: Interpreters
    limit: int = 20 << 30
    unpack_limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    _ready: dict[str, Environment] = field(default_factory=dict)
    _building: dict[str, AsyncResult[Environment]] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)
    _used_at: dict[str, float] = field(default_factory=dict)
    _turn: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        # One build uid: builds take turns, so that the end of one can end all processes of that uid.
        self._turn = BoundedSemaphore(1 if self.site.root else 2)

    def restore(self) -> None:
        """Find what an earlier life of this node built, drop what it left half done. Threadpool."""
        for place in self.site.environments.iterdir():
            kept = load(place)
            if kept is None:
                shutil.rmtree(place, ignore_errors=True)
                continue
            self._ready[place.name], self._used_at[place.name] = kept

    def get(self, package: Path, sha256: str, options: Options) -> Environment:
        """The environment for a package under these options; builds it if need be. Call it in a greenlet.

        It is kept on disk until ``release`` was called as often as this.

        Raises:
            BuildError: it cannot be built; every waiting caller gets the same error.
            SourceError: the package is bad or this node's disk failed.
            InterpreterError: no Python to build it with.
        """
        interpreter = self._interpreter(options.python)
        key = key_of(sha256, options, interpreter)
        return self._shared(key, lambda: self._make(key, package, options, interpreter))

    def release(self, environment: Environment) -> None:
        """A session that used the environment is over."""
        self._uses[environment.key] -= 1
        self._used_at[environment.key] = time.time()
        self._evict()

    def _shared(self, key: str, make: Callable[[], Environment]) -> Environment:
        self._uses[key] += 1
        try:
            ready = self._awaited(key)
            if ready is not None:
                return ready
            made = self._built(key, make)
        except BaseException:
            self._uses[key] -= 1
            raise
        self._used_at[key] = time.time()
        self._evict()
        return made

    def _awaited(self, key: str) -> Environment | None:
        """What is ready, or what somebody else is building; None if the caller is to build it."""
        while True:
            ready = self._ready.get(key)
            if ready is not None:
                return ready
            waiting = self._building.get(key)
            if waiting is None:
                return None
            try:
                built: Environment = waiting.get()
            except _BuilderGone:
                # Its session was ended, which says nothing about the build: the next in line makes it.
                continue
            return built

    def _built(self, key: str, make: Callable[[], Environment]) -> Environment:
        self._building[key] = result = AsyncResult()
        try:
            made = make()
        except BaseException as error:
            # Waiting greenlets must not hang.
            result.set_exception(error if isinstance(error, Exception) else _BuilderGone())
            raise
        finally:
            del self._building[key]
        self._ready[key] = made
        result.set(made)
        return made

    def _make(self, key: str, package: Path, options: Options, interpreter: Interpreter) -> Environment:
        place = self.site.environments / f"tmp-{secrets.token_hex(4)}"
        final = self.site.environments / key
        started = time.monotonic()
        try:
            self.site.check_space(BUILD_ROOM)
            in_bulk(_unpack, package, place, self.unpack_limits)
            planned = in_bulk(plan, place / "tree", options)
            if planned.nothing:
                base = self._base(interpreter)
                record = Record(venv=base.key, notes=planned.notes, base=True)
            else:
                built = self._build(place, final, planned, interpreter)
                record = Record(
                    venv=key, notes=built.notes, log=built.log, roots=tuple(map(str, built.roots))
                )
            return in_bulk(keep, place, final, record)
        except OSError as error:
            raise disk_error(error, "building an environment") from error
        finally:
            in_bulk(shutil.rmtree, place, True)
            log.info("environment %s: %.1f s", key[:12], time.monotonic() - started)

    def _build(self, place: Path, final: Path, planned: Plan, interpreter: Interpreter) -> Built:
        """Build under the final name: an environment's files name their own folder."""
        with self._turn:
            in_bulk(shutil.rmtree, final, True)
            place.rename(final)
            try:
                return build(self.uv, final, planned, interpreter)
            except BaseException:
                in_bulk(shutil.rmtree, final, True)
                raise
            finally:
                self._trim_cache()

    def _trim_cache(self) -> None:
        """Start uv's download cache anew when it has outgrown its share and no other build reads it."""
        cache = self.site.build / "cache"
        if in_bulk(tree_bytes, cache) > self.limit * CACHE_SHARE and len(self._building) == 1:
            # No switch of greenlets between the check and the rename.
            gone = self.site.build / f"tmp-{secrets.token_hex(4)}"
            cache.rename(gone)
            gevent.get_hub().threadpool.spawn(shutil.rmtree, gone, True)

    def _base(self, interpreter: Interpreter) -> Environment:
        """The ready environment that holds pytest alone, for projects that declare nothing."""
        key = key_of("base", Options(), interpreter)

        def make() -> Environment:
            final = self.site.environments / key
            place = self.site.environments / f"tmp-{secrets.token_hex(4)}"
            (place / "tree").mkdir(parents=True)
            built = self._build(place, final, bare(Plan()), interpreter)
            return in_bulk(keep, place, final, Record(venv=key, log=built.log, base=True))

        # Never released: it is small, and every environment built on it needs it.
        return self._shared(key, make)

    def _interpreter(self, request: str) -> Interpreter:
        default = self.interpreters.default()
        if not request or f"{default.version}.".startswith(f"{request}."):
            return default
        found = self.uv_python(request)
        return self.interpreters.usable(found)

    def uv_python(self, request: str) -> Path:
        """The interpreter uv finds on this node for ``request`` (``3.12``, ``cpython@3.11``).

        It is looked for as the node's own uid, which may see more; a copy is made if need be.

        Raises:
            InterpreterError: there is none.
        """
        if request.startswith("-") or "/" in request or not request.isprintable():
            raise InterpreterError(
                f"option python: {request[:60]!r} is not a version; write for example 3.12"
            )
        finished = self.uv.find_python(request)
        path = (
            Path(finished.output.strip().splitlines()[-1])
            if finished.ok and finished.output.strip()
            else None
        )
        if path is None or not path.is_absolute():
            reason = failure(finished, f"option python: no Python {request} on this node", self.uv.wall)
            raise InterpreterError(str(reason))
        return path

    def _evict(self) -> None:
        total = sum(environment.size for environment in self._ready.values())
        needed = {environment.venv_key for environment in self._ready.values()}
        for key in sorted(self._ready, key=lambda key: self._used_at.get(key, 0.0)):
            if total <= self.limit:
                return
            if self._uses[key] > 0 or (key in needed and self._ready[key].base):
                continue
            environment = self._ready.pop(key)
            self._used_at.pop(key, None)
            total -= environment.size
            doomed = environment.tree.parent
            gone = doomed.with_name(f"tmp-{secrets.token_hex(4)}")
            doomed.rename(gone)
            gevent.get_hub().threadpool.spawn(shutil.rmtree, gone, True)


def _unpack(package: Path, place: Path, limits: ArchiveLimits) -> None:
    (place / "tree").mkdir(parents=True, mode=0o755)
    unpack(package, place / "tree", limits)
