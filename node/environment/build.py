"""Building one environment: a venv, and the project's tree installed into it in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from node.environment import requirements
from node.environment.declared import Plan, without_optional, without_project
from node.environment.editable import import_roots, site_packages
from node.environment.errors import BuildError
from node.environment.interpreter import Interpreter
from node.environment.uv import Uv, failure
from node.threads import in_bulk
from node.treecopy import give_tree

OLDEST_PYTEST = "pytest>=7.4"
_SHIM = "from setuptools import setup\n\nsetup()\n"


@dataclass(frozen=True)
class Built:
    """What a build leaves: import roots relative to the tree, notes for people, the log."""

    roots: tuple[PurePosixPath, ...]
    notes: tuple[str, ...]
    log: str


def build(uv: Uv, place: Path, plan: Plan, interpreter: Interpreter) -> Built:
    """Make ``place/venv`` for ``place/tree``; call it in a greenlet.

    While uv runs, everything below ``place`` belongs to the build uid; afterwards to the node.

    Raises:
        BuildError: one line, with the tools' log.
        OSError: this node's disk failed.
    """
    tree, venv = place / "tree", place / "venv"
    in_bulk(_hand_over, uv, place, plan)
    made = uv.run(
        ["venv", "-q", "--no-project", "--no-config", "--python", str(interpreter.path), str(venv)], place
    )
    if not made.ok:
        raise failure(made, "the environment could not be made", uv.wall)
    plan, log = _install(uv, place, plan)
    in_bulk(_take_back, uv, place, plan)
    roots, hooked = in_bulk(import_roots, site_packages(venv), tree)
    notes = list(plan.notes)
    if hooked:
        notes.append(
            "the build backend hooks imports instead of naming a folder: tests import the project from one "
            "tree shared by all slots, not from their own copies"
        )
    if plan.pretend_version:
        notes.append("built as version 0.0: the version comes from a git history that is not here")
    return Built(roots, tuple(notes), log)


def _install(uv: Uv, place: Path, plan: Plan) -> tuple[Plan, str]:
    """Install the plan, else what may stand in for it; the first failure is the one that is told."""
    first: BuildError | None = None
    for attempt in _attempts(plan):
        try:
            return attempt, _install_once(uv, place, attempt)
        except BuildError as error:
            first = first or error
    assert first is not None
    raise first


def _attempts(plan: Plan) -> list[Plan]:
    plans = [plan]
    if plan.optional:
        plans.append(without_optional(plan))
    if plan.install == "try":
        plans += [without_project(earlier) for earlier in plans]
    return plans


def _install_once(uv: Uv, place: Path, plan: Plan) -> str:
    arguments = in_bulk(_arguments, uv, place, plan, _locked(uv, place, plan))
    finished = uv.run(arguments, place / "tree", pretend=plan.name if plan.pretend_version else None)
    if not finished.ok:
        raise failure(finished, "the environment could not be built", uv.wall)
    return finished.output


def _locked(uv: Uv, place: Path, plan: Plan) -> list[str]:
    """The pins of ``uv.lock`` for what this plan installs."""
    if not plan.locked:
        return []
    command = ["export", "-q", "--frozen", "--no-hashes", "--no-emit-project", "--no-header", "--no-annotate"]
    command += ["--no-default-groups", "--python", str(place / "venv/bin/python")]
    command += [word for name in plan.extras for word in ("--extra", name)]
    command += [word for name in plan.groups for word in ("--group", name)]
    finished = uv.run(command, place / "tree")
    if not finished.ok:
        raise failure(finished, "uv.lock could not be read", uv.wall)
    won = requirements.names((*plan.requirements, *plan.constraints))
    return requirements.lock_constraints(finished.output, won)


def _arguments(uv: Uv, place: Path, plan: Plan, locked: Sequence[str]) -> list[str]:
    """The words of ``uv pip install``; requirements travel in files, never as words."""
    words = ["pip", "install", "--python", str(place / "venv/bin/python"), "--compile-bytecode"]
    if plan.no_config:
        words.append("--no-config")
    extras = f"[{','.join(plan.extras)}]" if plan.extras else ""
    if plan.install != "no":
        words += ["-e", f".{extras}"]
        if plan.setuptools and plan.name:
            words += ["--config-settings-package", f"{plan.name}:editable_mode=compat"]
        elif plan.setuptools:
            words += ["--config-settings", "editable_mode=compat"]
    elif plan.project_dependencies:
        words += ["-r", "pyproject.toml", *(word for name in plan.extras for word in ("--extra", name))]
    words += [word for name in plan.groups for word in ("--group", name)]
    words += [word for name in plan.files for word in ("-r", name)]
    asked = [str(requirement) for requirement in plan.requirements]
    if "pytest" not in requirements.names(plan.requirements) and plan.name != "pytest":
        asked.append(OLDEST_PYTEST)
    overrides = requirements.overrides(plan.requirements, plan.name)
    if plan.pretend_version and plan.name and plan.install != "no":
        # Others may require a version of this project, and 0.0 would satisfy none of them.
        overrides.append(f"-e {place / 'tree'}{extras}")
    asked += [line for tool in plan.tools for line in tool.requirements]
    words += ["-r", str(_file(uv, place, "requirements.txt", asked))]
    if overrides:
        # A file's hashes are of the versions that have just been replaced.
        words += ["--override", str(_file(uv, place, "overrides.txt", overrides)), "--no-verify-hashes"]
    if plan.constraints:
        given = [str(requirement) for requirement in plan.constraints]
        words += ["-c", str(_file(uv, place, "constraints.txt", given))]
    if locked:
        words += ["-c", str(_file(uv, place, "locked.txt", locked))]
    return words


def _file(uv: Uv, place: Path, name: str, lines: Sequence[str]) -> Path:
    """Written beside the tree; the build uid owns the folder, so an old name is never written through."""
    path = place / name
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def _hand_over(uv: Uv, place: Path, plan: Plan) -> None:
    if plan.shim:
        (place / "tree" / "setup.py").write_text(_SHIM)
    build = uv.site.build
    for folder in (build / "home", build / "tmp", build / "cache"):
        folder.mkdir(mode=0o700, exist_ok=True)
        if uv.site.build_uid is not None:
            os.lchown(folder, uv.site.build_uid, uv.site.build_uid)
    if uv.site.build_uid is not None:
        give_tree(place, uv.site.build_uid)


def _take_back(uv: Uv, place: Path, plan: Plan) -> None:
    """No build process is alive: from here on nobody but the node can change what was built."""
    if plan.shim:
        (place / "tree" / "setup.py").unlink(missing_ok=True)
    if uv.site.build_uid is not None:
        give_tree(place, os.geteuid())


def bare(plan: Plan) -> Plan:
    """The plan of the ready base environment: pytest alone."""
    return replace(Plan(), no_config=True, notes=plan.notes)
