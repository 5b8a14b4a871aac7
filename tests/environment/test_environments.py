"""Real environments, built by uv from the package registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.event
import pytest

from node.environment.environments import Environments
from node.environment.errors import BuildError, InterpreterError
from node.environment.kept import Environment
from node.runner.children import Finished, Job, Warden
from node.sources.limits import ArchiveError
from node.sources.packing import pack
from node.workspace import SessionDirs, Workspace
from proto.messages import Options

SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT = '[project]\nname = "thing"\nversion = "1"\n'
FILES = """
import json, subprocess, sys, thing

def test_it():
    command = [sys.executable, "-c", "import thing; print(thing.__file__)"]
    child = subprocess.run(command, capture_output=True, text=True)
    print(json.dumps(["HERE", thing.__file__, child.stdout.strip()]))
"""
LAYOUTS = {
    "src": ("src/thing/__init__.py", ""),
    "flat": ("thing/__init__.py", ""),
    "lib": ("lib/thing/__init__.py", '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'),
}


def run_pytest(warden: Warden, environment: Environment, dirs: SessionDirs, *args: str) -> Finished:
    roots = ":".join(str(dirs.tree / root) for root in environment.import_roots)
    return warden.run(
        Job(
            argv=[str(environment.python), "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *args],
            cwd=dirs.tree,
            env={"PATH": f"{environment.bin}:/usr/bin:/bin", "HOME": str(dirs.home), "PYTHONPATH": roots},
            uid=dirs.uid,
            gid=dirs.uid,
            wall=120.0,
        )
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_session_imports_from_its_own_copy(
    build: Callable[..., Environment], warden: Warden, site: Workspace, layout: str
) -> None:
    module, settings = LAYOUTS[layout]
    environment = build(
        {"pyproject.toml": SETUPTOOLS + PROJECT + settings, module: "", "tests/test_a.py": FILES}
    )
    dirs = site.session_tree(environment.tree, "thing", 0)
    finished = run_pytest(warden, environment, dirs)
    assert finished.ok, finished.output
    line = next(line for line in finished.output.splitlines() if "HERE" in line)
    _, here, child = json.loads(line[line.index("[") : line.rindex("]") + 1])
    assert here == child == str(dirs.tree / module)
    site.remove_session(dirs, warden)


def test_nothing_declared_uses_the_base_environment(
    build: Callable[..., Environment], environments: Environments, tmp_path: Path
) -> None:
    first = build({"test_a.py": "def test(): pass\n"})
    assert first.base
    other = tmp_path / "other"
    other.mkdir()
    (other / "test_b.py").write_text("")
    package = pack(other, tmp_path)
    second = environments.get(package.path, package.sha256, Options())
    assert second.python == first.python
    assert second.tree != first.tree
    environments.release(second)


def test_the_submission_overrides_what_the_project_pins(
    build: Callable[..., Environment], warden: Warden, site: Workspace
) -> None:
    environment = build(
        {
            "pyproject.toml": SETUPTOOLS
            + PROJECT
            + '[tool.setuptools]\npy-modules = ["thing"]\n'
            + '[dependency-groups]\ntest = ["pytest==9.0.0", "iniconfig==2.0.0"]\n',
            "thing.py": "",
            "test_a.py": "import pytest, importlib.metadata as m\n"
            'def test(): assert pytest.__version__ == "8.3.5" and m.version("iniconfig") == "2.0.0"\n',
        },
        requirements=("pytest==8.3.5",),
    )
    dirs = site.session_tree(environment.tree, "thing", 0)
    finished = run_pytest(warden, environment, dirs)
    assert finished.ok, finished.output
    assert "installed from group test" in environment.notes
    site.remove_session(dirs, warden)


def test_a_poetry_project_gets_its_test_group(
    build: Callable[..., Environment], warden: Warden, site: Workspace
) -> None:
    environment = build(
        {
            "pyproject.toml": '[build-system]\nrequires = ["poetry-core>=1"]\n'
            'build-backend = "poetry.core.masonry.api"\n'
            '[tool.poetry]\nname = "thing"\nversion = "1"\ndescription = ""\nauthors = []\n'
            'packages = [{ include = "thing", from = "src" }]\n'
            '[tool.poetry.dependencies]\npython = "^3.11"\n'
            '[tool.poetry.group.test.dependencies]\niniconfig = "~2.0.0"\npytest = "^8.3"\n',
            "src/thing/__init__.py": "",
            "tests/test_a.py": "import pytest, thing, importlib.metadata as m\n"
            'def test(): assert pytest.__version__[0] == "8" and m.version("iniconfig")[:4] == "2.0."\n',
        }
    )
    assert "installed from Poetry group test" in environment.notes
    dirs = site.session_tree(environment.tree, "thing", 0)
    finished = run_pytest(warden, environment, dirs)
    assert finished.ok, finished.output
    site.remove_session(dirs, warden)


def test_a_project_without_history_is_built_as_version_0(build: Callable[..., Environment]) -> None:
    """Its own name is required by pytest in a version that 0.0 is not."""
    environment = build(
        {
            "pyproject.toml": '[build-system]\nrequires = ["setuptools", "setuptools-scm"]\n'
            '[project]\nname = "pluggy"\ndynamic = ["version"]\n[tool.setuptools_scm]\n',
            "src/pluggy/__init__.py": "",
        }
    )
    assert any("built as version 0.0" in note for note in environment.notes)
    assert [str(root) for root in environment.import_roots] == ["src"]


def test_metadata_that_does_not_build_falls_back_to_its_dependencies(
    build: Callable[..., Environment],
) -> None:
    """Two packages at the top: setuptools refuses to guess, plain pytest would not care."""
    environment = build(
        {"pyproject.toml": PROJECT, "one/__init__.py": "", "two/__init__.py": "", "test_a.py": ""}
    )
    assert any("the project itself is not installed" in note for note in environment.notes)
    assert environment.import_roots == ()


def test_a_setup_cfg_alone_is_installed(build: Callable[..., Environment]) -> None:
    environment = build(
        {
            "setup.cfg": "[metadata]\nname = thing\nversion = 1\n[options]\npy_modules = thing\n",
            "thing.py": "",
        }
    )
    assert [str(root) for root in environment.import_roots] == ["."]
    assert not (environment.tree / "setup.py").exists()


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (
            {"requirements.txt": "no-such-distribution-of-testring==1\n"},
            {},
            "no-such-distribution-of-testring",
        ),
        ({"setup.py": 'raise SystemExit("cannot build this")\n'}, {}, "could not be built"),
        ({"requirements.txt": "attrs==23.1.0\nattrs==23.2.0\n"}, {}, "attrs"),
        ({"test_a.py": ""}, {"requirements": ("x @ file:///etc",)}, "a URL is not taken"),
    ],
)
def test_what_cannot_be_built_says_why(
    build: Callable[..., Environment],
    site: Workspace,
    files: dict[str, str],
    options: dict[str, object],
    words: str,
) -> None:
    before = set(site.environments.iterdir())
    with pytest.raises(BuildError, match=words) as caught:
        build(files, **options)
    assert "\n" not in str(caught.value)
    assert set(site.environments.iterdir()) == before


def test_the_builds_log_is_kept(build: Callable[..., Environment]) -> None:
    with pytest.raises(BuildError) as caught:
        build({"setup.py": 'raise SystemExit("words of the build")\n'})
    assert "words of the build" in caught.value.log


def test_a_python_that_is_not_here(environments: Environments) -> None:
    with pytest.raises(InterpreterError, match=r"no Python 3\.99 on this node"):
        environments.uv_python("3.99")
    for bad in ("--help", "/usr/bin/python3", "a\nb"):
        with pytest.raises(InterpreterError, match="not a version"):
            environments.uv_python(bad)


def test_a_damaged_package_is_refused(environments: Environments, tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"nonsense")
    with pytest.raises(ArchiveError):
        environments.get(bad, "f" * 64, Options())


def test_those_who_ask_at_once_share_one_build(
    environments: Environments,
    tree: Callable[[dict[str, str]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = pack(tree({"requirements.txt": "iniconfig\n"}), tmp_path)
    commands: list[str] = []
    run = environments.uv.run

    def counted(args: list[str], cwd: Path, **options: object) -> Finished:
        commands.append(args[0])
        return run(args, cwd, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(environments.uv, "run", counted)
    asked = [gevent.spawn(environments.get, package.path, package.sha256, Options()) for _ in range(3)]
    gevent.joinall(asked, timeout=120, raise_error=True)
    assert commands == ["venv", "pip"]
    assert len({greenlet.value.key for greenlet in asked}) == 1
    for greenlet in asked:
        environments.release(greenlet.value)


def test_a_builder_that_is_killed_leaves_the_build_to_those_who_wait(
    environments: Environments,
    tree: Callable[[dict[str, str]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = pack(tree({"requirements.txt": "pluggy\n"}), tmp_path)
    building: gevent.event.AsyncResult[gevent.Greenlet] = gevent.event.AsyncResult()
    run = environments.uv.run

    def told(args: list[str], cwd: Path, **options: object) -> Finished:
        building.set(gevent.getcurrent())
        return run(args, cwd, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(environments.uv, "run", told)
    asked = [gevent.spawn(environments.get, package.path, package.sha256, Options()) for _ in range(3)]
    builder = building.get(timeout=60)
    others = [greenlet for greenlet in asked if greenlet is not builder]
    builder.kill()
    gevent.joinall(others, timeout=120, raise_error=True)
    assert len({greenlet.value.key for greenlet in others}) == 1
    for greenlet in others:
        environments.release(greenlet.value)


def test_what_is_not_in_use_goes_when_the_disk_share_is_full(
    warden: Warden,
    site: Workspace,
    environments: Environments,
    tree: Callable[[dict[str, str]], Path],
    tmp_path: Path,
) -> None:
    package = pack(tree({"requirements.txt": "iniconfig>=1\n"}), tmp_path)
    used = environments.get(package.path, package.sha256, Options())
    again = Environments(uv=environments.uv, site=site, interpreters=environments.interpreters, limit=0)
    again.restore()
    assert again.get(package.path, package.sha256, Options()) == used
    other = pack(tmp_path / "project", tmp_path)
    third = again.get(other.path, other.sha256, Options(requirements=("iniconfig",)))
    assert not (site.build / "cache").exists(), "so do uv's downloads"
    again.release(third)
    assert not third.tree.exists()
    environments.release(used)
    again.release(used)
    assert not used.tree.exists()
    environments.restore()
