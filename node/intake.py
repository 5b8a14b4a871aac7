"""Taking submissions in: archives are opened, checked and packed; git URLs are checked, later cloned.

Everything a client can get wrong in a submission becomes a ``Refused`` with one clear line here,
before an id is given.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from gevent.pool import Pool

from node.config import Settings
from node.core import events as ev
from node.core.effects import Clone
from node.core.records import Source
from node.packages import PackageCache
from node.sources import archive, packing
from node.sources.git import Cloner
from node.sources.giturl import GitError, check_url, origin, project_name
from node.spool import Spool
from node.threads import in_bulk
from proto.messages import HoldToken, Options, SubmitArchive, SubmitProjects

log = logging.getLogger("testring.intake")

CLONES = 4
"""Repositories cloned at once; the core asks for a few at a time as well."""
MAX_PROJECTS = 1000
MAX_TOKENS = 10_000
"""Tokens in memory; the oldest goes first."""


class Refused(Exception):
    """A request that is answered with a problem: status, title, detail and what helps."""

    def __init__(self, status: int, title: str, detail: str, **extra: object) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.extra = extra


class Intake:
    """Turns submissions into packages.

    Args:
        post: the node's inbox.
        spread: puts packages (hash -> size) on the disks of the others that hold the log; which of
            them have all.
        entrust: gives those nodes a token to hold.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[ev.AnyEvent], None],
        packages: PackageCache,
        spool: Spool,
        cloner: Cloner,
        spread: Callable[[dict[str, int]], frozenset[str]],
        entrust: Callable[[HoldToken], None],
    ) -> None:
        self._post = post
        self._packages = packages
        self._spool = spool
        self._cloner = cloner
        self._limits = archive.ArchiveLimits(total=settings.max_unpacked)
        self._origins = settings.git_hosts
        self._clones = Pool(CLONES)
        self._spread = spread
        self._entrust = entrust
        self._tokens: OrderedDict[str, HoldToken] = OrderedDict()

    def archive(self, ticket: int, query: SubmitArchive) -> None:
        """Open an uploaded zip and submit its projects.

        Raises:
            Refused: 400 with the entry's name for a bad archive.
        """
        path = self._spool.find(query.sha256)
        if path is None:
            raise Refused(400, "Unknown upload", "the uploaded file is not here any more: upload it again")
        try:
            sources = in_bulk(self._unpack, path, query)
        finally:
            # Removing a large file takes as long as writing it does on some file systems.
            in_bulk(self._spool.drop, query.sha256)
        if isinstance(sources, Refused):
            raise sources
        self._submit(
            ticket, query.request, query.options, sources, query.options.name or Path(query.filename).stem
        )

    def projects(self, ticket: int, query: SubmitProjects) -> None:
        """Check the URLs and submit them; they are cloned once the evaluation has its id.

        Raises:
            Refused: 422 naming the URL.
        """
        if not 0 < len(query.projects) <= MAX_PROJECTS:
            raise Refused(422, "Bad projects", f"give 1 to {MAX_PROJECTS} URLs", field="projects")
        sources = []
        for url in query.projects:
            try:
                checked = check_url(url, self._origins)
            except GitError as error:
                raise Refused(422, "Bad project URL", str(error), field="projects", value=url) from error
            sources.append(Source(name=project_name(checked), url=checked))
        if query.auth_token:
            token = HoldToken(request=query.request, token=query.auth_token, origin=origin(sources[0].url))
            self.hold(token)
            self._entrust(token)
        self._submit(
            ticket,
            query.request,
            query.options,
            tuple(sources),
            query.options.name,
            token=bool(query.auth_token),
        )

    def hold(self, token: HoldToken) -> None:
        """Keep a token in memory until its evaluation is over."""
        self._tokens[token.request] = token
        while len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)

    def forget(self, requests: tuple[str, ...]) -> None:
        """These evaluations are over."""
        for request in requests:
            self._tokens.pop(request, None)

    def clone(self, effect: Clone) -> None:
        """Clone and pack one project in a greenlet; posts ``Cloned`` or ``CloneFailed``."""
        self._clones.spawn(self._clone, effect)

    def _submit(
        self,
        ticket: int,
        request: str,
        options: Options,
        sources: tuple[Source, ...],
        name: str,
        token: bool = False,
    ) -> None:
        # The bytes come before the record that names them.
        holders = self._spread({source.package: source.size for source in sources if source.package})
        self._post(
            ev.Submitted(
                ticket=ticket,
                request=request,
                options=options,
                sources=sources,
                name=name,
                at=time.time(),
                holders=holders,
                token=token,
            )
        )

    def _unpack(self, path: Path, query: SubmitArchive) -> tuple[Source, ...] | Refused:
        # Returned, not raised: the threadpool prints what is raised in it.
        with tempfile.TemporaryDirectory(dir=self._spool.directory, prefix="tmp-") as scratch:
            try:
                trees = archive.open_archive(path, Path(scratch), self._limits)
                name = query.options.name or Path(query.filename).stem or "project"
                return tuple(
                    self._pack(tree.name or name, tree.path, tree.notes, query.options) for tree in trees
                )
            except archive.ArchiveError as error:
                return Refused(400, "Bad archive", str(error), entry=error.entry)
            except archive.SourceError as error:
                return Refused(507, "Not stored", str(error))

    def _pack(self, name: str, tree: Path, notes: tuple[str, ...], options: Options) -> Source:
        root = archive.subdirectory(tree, options.subdirectory)
        package = packing.pack(root, self._spool.directory)
        self._packages.add(package.path, package.sha256)
        return Source(name=name, package=package.sha256, size=package.size, notes=tuple(notes))

    def _clone(self, effect: Clone) -> None:
        scratch = Path(tempfile.mkdtemp(dir=self._spool.directory, prefix="tmp-"))
        held = self._tokens.get(effect.request)
        try:
            if effect.token and held is None:
                raise GitError("token no longer held: submit the project again")
            fetched = self._cloner.clone(
                effect.url,
                scratch,
                ref=effect.options.ref,
                token=held.token if held is not None and origin(effect.url) == held.origin else "",
            )
            source = in_bulk(self._pack, "", fetched.path, fetched.notes, effect.options)
            holders = self._spread({source.package: source.size})
        except (archive.SourceError, OSError) as error:
            log.info("evaluation %d: %s: %s", effect.evaluation, effect.url, error)
            self._post(
                ev.CloneFailed(
                    evaluation=effect.evaluation,
                    project=effect.project,
                    message=str(error),
                    log=getattr(error, "log", ""),
                )
            )
        else:
            self._post(
                ev.Cloned(
                    evaluation=effect.evaluation,
                    project=effect.project,
                    package=source.package,
                    size=source.size,
                    notes=source.notes,
                    holders=holders,
                )
            )
        finally:
            in_bulk(shutil.rmtree, scratch, True)
