"""From settings to a running node, in order; what cannot be had is one line with its remedy."""

from __future__ import annotations

import logging
import os

from node.config import ConfigError, Settings
from node.environment.environments import Environments
from node.environment.errors import BuildError, InterpreterError
from node.environment.interpreter import Interpreters
from node.environment.uv import Uv
from node.environment.variables import network_variables
from node.identity import DATABASE, IdentityError, take
from node.net.control import ControlError
from node.net.links import ListenError
from node.packages import PackageCache
from node.parts import Parts
from node.runner.children import Warden, WardenLost
from node.server import Server
from node.sources.git import Cloner
from node.sources.limits import ArchiveLimits, SourceError
from node.spool import Spool
from node.store import Store, StoreError, StoreSettings
from node.workspace import Workspace

log = logging.getLogger("testring.node")


class StartError(Exception):
    """The node cannot start; one line says why and what to do."""


def serve(settings: Settings, warden: Warden) -> int:
    """Run a node until it is stopped; the process's exit code.

    Raises:
        StartError: a place, an address, an interpreter or the database cannot be used.
    """
    try:
        return _server(settings, warden).run()
    except (
        IdentityError,
        ListenError,
        ControlError,
        ConfigError,
        SourceError,
        InterpreterError,
        StoreError,
        BuildError,
        WardenLost,
    ) as error:
        raise StartError(str(error)) from error
    finally:
        warden.stop()


def _server(settings: Settings, warden: Warden) -> Server:
    identity = take(settings.data, founder=settings.master)
    warden.attach()
    root = os.geteuid() == 0
    site = Workspace(settings.run_dir, identity.node, root)
    site.prepare()
    packages = PackageCache(identity.directory / "packages", settings.package_cache)
    interpreters = Interpreters(warden, site)
    limits = ArchiveLimits(total=settings.max_unpacked)
    environments = Environments(
        uv=Uv(warden=warden, site=site, wall=settings.timeout_build, environ=dict(os.environ)),
        site=site,
        interpreters=interpreters,
        limit=settings.environment_cache,
        unpack_limits=limits,
    )
    environments.restore()
    # A node that has no interpreter its run uid can execute says so now, not at the first session.
    interpreters.default()
    cloner = Cloner(
        warden=warden,
        scratch=site.clones,
        origins=settings.git_hosts,
        wall=settings.timeout_clone,
        limits=limits,
        ca=settings.git_ca,
        uid=site.fetch_uid,
        variables=network_variables(os.environ),
    )
    parts = Parts(
        warden=warden,
        site=site,
        store=Store(
            identity.directory / DATABASE,
            StoreSettings(retention_days=settings.retention_days, retention_size=settings.retention_size),
        ),
        packages=packages,
        spool=Spool(identity.directory / "spool"),
        environments=environments,
        cloner=cloner,
    )
    return Server(settings, identity, parts)
