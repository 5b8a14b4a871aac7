"""What a node is made of beside its core and its connections."""

from __future__ import annotations

from dataclasses import dataclass

from node.environment.environments import Environments
from node.packages import PackageCache
from node.runner.children import Warden
from node.sources.git import Cloner
from node.spool import Spool
from node.store import Store
from node.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Made by ``startup`` in order; owned by the ``Server``."""

    warden: Warden
    site: Workspace
    store: Store
    packages: PackageCache
    spool: Spool
    environments: Environments
    cloner: Cloner
