"""The recipes of the images: they hold what their rooms import, and stay with what every builder knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from proto.version import VERSION
from tests.test_architecture import ROOT, imports

RECIPES = {"Dockerfile.node": ("proto", "node"), "Dockerfile.api": ("proto", "api")}
FOR_PROJECTS = ("pytest", "_pytest")
"""Imported by the plugin, in the environment of the project that is tested."""


def recipe(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def named(name: str) -> list[str]:
    """The dependencies that a recipe asks for."""
    found = re.search(r"dependencies\.py /build/setup\.cfg ([\w ]+?) >", recipe(name))
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize(("name", "rooms"), RECIPES.items())
def test_an_image_holds_what_its_rooms_import(name: str, rooms: tuple[str, ...]) -> None:
    paths = [path.relative_to(ROOT).as_posix() for room in rooms for path in (ROOT / room).rglob("*.py")]
    scripts = {Path(path).stem for path in paths if path.startswith("node/runner/")}
    tops = {module.partition(".")[0] for path in paths for _, module in imports(path)}
    outside = tops - set(sys.stdlib_module_names) - {*rooms, *FOR_PROJECTS, *scripts}
    # werkzeug comes with flask.
    assert outside - {"werkzeug"} <= set(named(name)) | {"__future__"}
    for room in rooms:
        assert f"COPY {room} /opt/testring/app/{room}" in recipe(name)


@pytest.mark.parametrize("name", RECIPES)
def test_only_what_every_builder_knows(name: str) -> None:
    for syntax in ("RUN --", "<<", "COPY --link", "COPY --chmod", "# syntax="):
        assert syntax not in recipe(name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_version_is_the_release(name: str) -> None:
    assert f"ARG VERSION={VERSION}\n" in recipe(name)
    kustomization = (ROOT / "compose/kubernetes/base/kustomization.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"newTag: (\S+)\}", kustomization)) == {VERSION}


@pytest.mark.parametrize("name", RECIPES)
def test_ranges_come_from_the_project(name: str) -> None:
    command = [sys.executable, str(ROOT / "compose" / "dependencies.py"), str(ROOT / "setup.cfg")]
    done = subprocess.run([*command, *named(name)], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(named(name))
    wrong = subprocess.run([*command, "no-such-thing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "no-such-thing" in wrong.stderr


def test_nothing_secret_reaches_an_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!") and "secret" in line]
