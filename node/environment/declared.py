"""From what a project declares and a submission asks to a plan of one installation.

The rule. The project itself is installed in place if it has a build system. To it are added, all in
one resolution: the first of the dependency groups ``test tests testing dev``, the first extra of
these names, ``requirements.txt``, and the first test requirements file found. ``dev`` ones are a
last resort: used only if nothing of the other names is there, and dropped with a note if they do not
resolve. Everything else that does not resolve is an error. What the submission names replaces the
first matching one. Its requirements and constraints win over the project's versions, and where the
project's test requirements then cannot be had at all, they too are dropped with a note.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from node.environment import metadata, requirements
from node.environment.errors import BuildError
from node.environment.metadata import Metadata
from proto.messages import Options

TEST_NAMES = ("test", "tests", "testing")
LAST_RESORT = "dev"
TEST_FILES = (
    *("requirements-test.txt", "requirements-tests.txt", "requirements-testing.txt"),
    *("requirements_test.txt", "requirements_tests.txt", "test-requirements.txt", "test_requirements.txt"),
    *(f"requirements/{name}.{kind}" for name in (*TEST_NAMES, "pytest") for kind in ("txt", "in")),
    "tests/requirements.txt",
    "test/requirements.txt",
)
DEV_FILES = (
    *("requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt"),
    *("requirements/dev.txt", "requirements/dev.in"),
)
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
            self.extras or self.groups or self.files or self.requirements or self.project_dependencies
        )


def plan(tree: Path, options: Options) -> Plan:
    """What to install for the tree.

    Raises:
        BuildError: a file of the project is broken, or an option names what is not there.
    """
    found = metadata.read(tree)
    asked = tuple(requirements.parse(options.requirements))
    constraints = tuple(requirements.parse(options.constraints, "constraints"))
    groups = _groups(found, options)
    extras = _extras(found, options)
    files = _files(tree, bool(groups or extras) and not _only_last_resort(groups, extras))
    if _only_last_resort(groups, extras) and any(name in TEST_FILES for name in files):
        # The project has said elsewhere what its tests need.
        groups, extras = (groups if options.groups else ()), (extras if options.extras else ())
    # With requirements of its own a submission has said what the tests need: what the project declares
    # for them is welcome as long as it fits.
    soft = (*TEST_NAMES, LAST_RESORT) if asked else (LAST_RESORT,)
    optional = (
        *(f"group {name}" for name in groups if name in soft and not options.groups),
        *(f"extra {name}" for name in extras if name in soft and not options.extras),
        *(name for name in files if asked or name in DEV_FILES),
    )
    install = _install(found)
    made = Plan(
        name=found.name,
        install=install,
        extras=extras,
        groups=groups,
        files=files,
        optional=optional,
        requirements=asked,
        constraints=constraints,
        project_dependencies=install == "no" and (found.declares_dependencies or bool(extras)),
        locked=(tree / "uv.lock").is_file() and found.has_pyproject,
        setuptools=_by_setuptools(found),
        shim=found.has_setup_cfg and not found.has_setup_py and not found.has_pyproject,
        no_config=not found.has_pyproject and not (tree / "uv.toml").is_file(),
    )
    return replace(
        made, notes=_notes(found, made) + _used(made), pretend_version=_pretend(tree, found, install)
    )


def without_optional(made: Plan) -> Plan:
    """The plan without what may be left out, and with a note that says so."""
    kept = replace(
        made,
        groups=tuple(name for name in made.groups if f"group {name}" not in made.optional),
        extras=tuple(name for name in made.extras if f"extra {name}" not in made.optional),
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


def _groups(found: Metadata, options: Options) -> tuple[str, ...]:
    return _chosen(found.groups, options.groups, "groups", "dependency group")


def _extras(found: Metadata, options: Options) -> tuple[str, ...]:
    return _chosen(found.extras, options.extras, "extras", "extra")


def _chosen(declared: tuple[str, ...], asked: tuple[str, ...], option: str, word: str) -> tuple[str, ...]:
    names: dict[str, str] = {canonicalize_name(name): name for name in declared}
    for name in asked:
        if canonicalize_name(name) not in names:
            there = ", ".join(declared) or "none"
            raise BuildError(f"option {option}: the project has no {word} {name!r}; it declares: {there}")
    if asked:
        return tuple(names[canonicalize_name(name)] for name in asked)
    return next(((names[name],) for name in (*TEST_NAMES, LAST_RESORT) if name in names), ())


def _only_last_resort(groups: tuple[str, ...], extras: tuple[str, ...]) -> bool:
    return set(groups) | set(extras) == {LAST_RESORT}


def _files(tree: Path, has_test_names: bool) -> tuple[str, ...]:
    files = ["requirements.txt"] if (tree / "requirements.txt").is_file() else []
    names = TEST_FILES if has_test_names else (*TEST_FILES, *DEV_FILES)
    found = next((name for name in names if (tree / name).is_file()), None)
    return tuple(files + ([found] if found else []))


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


def _notes(found: Metadata, made: Plan) -> tuple[str, ...]:
    notes = []
    tool = found.pyproject.get("tool", {})
    poetry = tool.get("poetry", {}) if isinstance(tool, dict) else {}
    if isinstance(poetry, dict) and ("group" in poetry or "dev-dependencies" in poetry) and not made.groups:
        notes.append("Poetry's own dependency groups are not read: name what the tests need in requirements")
    return tuple(notes)


def _used(made: Plan) -> tuple[str, ...]:
    used = [f"group {name}" for name in made.groups] + [f"extra {name}" for name in made.extras]
    used += list(made.files) + (["uv.lock"] if made.locked else [])
    return (INSTALLED_FROM + ", ".join(used),) if used else ()
