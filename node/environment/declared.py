"""From what a project declares and a submission asks to a plan of one installation.

The rule. The project itself is installed in place if it has a build system. To it are added, all in
one resolution: the first of the dependency groups ``test tests testing dev``, the first extra of
these names, ``requirements.txt``, and the first test requirements file found (``chosen.py``); where
no group or extra is named for tests, a group that Poetry, PDM or hatch keeps in its own table.
``dev`` ones are a last resort, and dropped with a note if they do not resolve. Everything else that
does not resolve is an error. What the submission names replaces the first matching one. Its
requirements and constraints win over the project's versions, and where the project's test
requirements then cannot be had at all, they too are dropped with a note.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from node.environment import metadata, requirements
from node.environment.chosen import DEV_FILES, LAST_RESORT, TEST_NAMES, TOOL_LAST_RESORTS, choose
from node.environment.metadata import Metadata
from node.environment.toolgroups import ToolGroup
from proto.messages import Options

_VERSION_TOOLS = (
    *("setuptools-scm", "setuptools_scm", "use_scm_version", "hatch-vcs", "hatch_vcs", "flit_scm", "pbr"),
    *("poetry-dynamic-versioning", "uv-dynamic-versioning", "versioningit", "pdm-backend", "pdm-pep517"),
)

INSTALLED_FROM = "installed from "

Install = Literal["editable", "try", "no"]
"""``try``: metadata without a build system; if it does not build, only its dependencies are used."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One installation. ``files`` are relative to the tree; ``optional`` names what may be dropped."""

    name: str = ""
    install: Install = "no"
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tools: tuple[ToolGroup, ...] = ()
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()
    project_dependencies: bool = False
    """Install what ``[project] dependencies`` lists, without the project."""
    locked: bool = False
    setuptools: bool = False
    shim: bool = False
    """Only a ``setup.cfg``: the build needs a ``setup.py`` beside it."""
    pretend_version: bool = False
    no_config: bool = False
    """The tree has no settings for uv, so none of a folder above may be found either."""
    notes: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether plain pytest is all that is needed."""
        return self.install == "no" and not (
            self.extras
            or self.groups
            or self.tools
            or self.files
            or self.requirements
            or self.project_dependencies
        )


def plan(tree: Path, options: Options) -> Plan:
    """What to install for the tree.

    Raises:
        BuildError: a file of the project is broken, or an option names what is not there.
    """
    found = metadata.read(tree)
    asked = tuple(requirements.parse(options.requirements))
    constraints = tuple(requirements.parse(options.constraints, "constraints"))
    chosen = choose(tree, found, options)
    # With requirements of its own a submission has said what the tests need: what the project declares
    # for them is welcome as long as it fits.
    soft = (*TEST_NAMES, LAST_RESORT) if asked else (LAST_RESORT,)
    optional = (
        *(f"group {name}" for name in chosen.groups if name in soft and not options.groups),
        *(f"extra {name}" for name in chosen.extras if name in soft and not options.extras),
        *(
            tool.label
            for tool in chosen.tools
            if not options.groups and (asked or tool.name in TOOL_LAST_RESORTS)
        ),
        *(name for name in chosen.files if asked or name in DEV_FILES),
    )
    install = _install(found)
    made = Plan(
        name=found.name,
        install=install,
        extras=chosen.extras,
        groups=chosen.groups,
        tools=chosen.tools,
        files=chosen.files,
        optional=optional,
        requirements=asked,
        constraints=constraints,
        project_dependencies=install == "no" and (found.declares_dependencies or bool(chosen.extras)),
        locked=(tree / "uv.lock").is_file() and found.has_pyproject,
        setuptools=_by_setuptools(found),
        shim=found.has_setup_cfg and not found.has_setup_py and not found.has_pyproject,
        no_config=not found.has_pyproject and not (tree / "uv.toml").is_file(),
    )
    return replace(made, notes=_notes(made) + _used(made), pretend_version=_pretend(tree, found, install))


def without_optional(made: Plan) -> Plan:
    """The plan without what may be left out, and with a note that says so."""
    kept = replace(
        made,
        groups=tuple(name for name in made.groups if f"group {name}" not in made.optional),
        extras=tuple(name for name in made.extras if f"extra {name}" not in made.optional),
        tools=tuple(tool for tool in made.tools if tool.label not in made.optional),
        files=tuple(name for name in made.files if name not in made.optional),
        optional=(),
    )
    told = tuple(note for note in made.notes if not note.startswith(INSTALLED_FROM))
    note = f"left out, because it could not be installed with the rest: {', '.join(made.optional)}"
    return replace(kept, notes=(*told, *_used(kept), note))


def without_project(made: Plan) -> Plan:
    """The plan for a project that has metadata but cannot be built: its dependencies only."""
    note = "the project itself is not installed: it declares no build system and does not build without one"
    return replace(
        made, install="no", project_dependencies=True, pretend_version=False, notes=(*made.notes, note)
    )


def _install(found: Metadata) -> Install:
    tool = found.pyproject.get("tool", {})
    uv = tool.get("uv", {}) if isinstance(tool, dict) else {}
    if isinstance(uv, dict) and uv.get("package") is False:
        return "no"
    if "build-system" in found.pyproject or found.has_setup_py or found.has_setup_cfg:
        return "editable"
    return "try" if "project" in found.pyproject else "no"


def _by_setuptools(found: Metadata) -> bool:
    if not found.build_requires:
        return True
    return any(line.lower().startswith("setuptools") for line in found.build_requires)


def _pretend(tree: Path, found: Metadata, install: Install) -> bool:
    """Whether the version can only come from a history that is not here."""
    if install == "no" or not found.dynamic_version:
        return False
    if (tree / ".git").exists() or (tree / "PKG-INFO").is_file():
        return False
    return any(tool in found.build_text for tool in _VERSION_TOOLS)


def _notes(made: Plan) -> tuple[str, ...]:
    return tuple(
        f"left out of {tool.label}, being no plain requirements: {', '.join(tool.left_out)[:500]}"
        for tool in made.tools
        if tool.left_out
    )


def _used(made: Plan) -> tuple[str, ...]:
    used = [f"group {name}" for name in made.groups] + [f"extra {name}" for name in made.extras]
    used += [tool.label for tool in made.tools] + list(made.files) + (["uv.lock"] if made.locked else [])
    return (INSTALLED_FROM + ", ".join(used),) if used else ()
