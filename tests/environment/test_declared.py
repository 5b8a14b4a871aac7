from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.environment.declared import plan, without_optional, without_project
from node.environment.errors import BuildError
from node.environment.requirements import lock_constraints, overrides, parse
from node.environment.variables import build_variables, network_variables
from proto.messages import Options

Tree = Callable[[dict[str, str]], Path]
PROJECT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "My.Thing"\nversion = "1"\n'


def group(*names: str) -> str:
    return "[dependency-groups]\n" + "".join(f'{name} = ["pytest"]\n' for name in names)


def extra(*names: str) -> str:
    return "[project.optional-dependencies]\n" + "".join(f'{name} = ["pytest"]\n' for name in names)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"test_a.py": ""}, ("no", (), (), ())),
        ({"pyproject.toml": PROJECT}, ("editable", (), (), ())),
        ({"pyproject.toml": PROJECT + group("dev", "testing", "tests")}, ("editable", ("tests",), (), ())),
        ({"pyproject.toml": PROJECT + group("dev") + extra("Test")}, ("editable", ("dev",), ("Test",), ())),
        (
            {"pyproject.toml": group("dev"), "requirements.txt": ""},
            ("no", ("dev",), (), ("requirements.txt",)),
        ),
        (
            {"pyproject.toml": PROJECT + group("dev"), "requirements/tests.txt": ""},
            ("editable", (), (), ("requirements/tests.txt",)),
        ),
        (
            {
                "setup.py": "",
                "requirements.txt": "",
                "requirements/pytest.in": "",
                "requirements/dev.txt": "",
            },
            ("editable", (), (), ("requirements.txt", "requirements/pytest.in")),
        ),
        ({"requirements-dev.txt": ""}, ("no", (), (), ("requirements-dev.txt",))),
        (
            {"pyproject.toml": PROJECT + group("test"), "requirements-dev.txt": ""},
            ("editable", ("test",), (), ()),
        ),
        ({"tests/requirements.txt": ""}, ("no", (), (), ("tests/requirements.txt",))),
        (
            {
                "setup.cfg": "[metadata]\nname = a\n[options.extras_require]\ntesting =\n    pytest\n",
                "setup.py": "",
            },
            ("editable", (), ("testing",), ()),
        ),
        ({"setup.py": 'setup(extras_require={"test": ["x"]})'}, ("editable", (), ("test",), ())),
        (
            {"setup.py": "", "PKG-INFO": "Name: a\nProvides-Extra: tests\n\nbody"},
            ("editable", (), ("tests",), ()),
        ),
        ({"setup.cfg": "[tool:pytest]\n"}, ("no", (), (), ())),
        ({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\n'}, ("try", (), (), ())),
        ({"pyproject.toml": PROJECT + "[tool.uv]\npackage = false\n"}, ("no", (), (), ())),
    ],
)
def test_precedence(tree: Tree, files: dict[str, str], expected: tuple[object, ...]) -> None:
    made = plan(tree(files), Options())
    assert (made.install, made.groups, made.extras, made.files) == expected


def test_a_project_that_declares_nothing(tree: Tree) -> None:
    root = tree(
        {"test_a.py": "", "pyproject.toml": "[tool.pytest.ini_options]\n", "pytest.ini": "[pytest]\n"}
    )
    assert plan(root, Options()).nothing
    assert not plan(root, Options(requirements=("attrs",))).nothing


def test_options_replace_the_first_match(tree: Tree) -> None:
    root = tree({"pyproject.toml": PROJECT + group("test", "lint") + extra("tests", "fast_io")})
    made = plan(root, Options(groups=("lint",), extras=("Fast-IO",)))
    assert (made.groups, made.extras) == (("lint",), ("fast_io",))
    assert made.optional == ()
    with pytest.raises(BuildError, match="no dependency group 'nope'; it declares: test, lint"):
        plan(root, Options(groups=("nope",)))
    with pytest.raises(BuildError, match="no extra 'nope'"):
        plan(root, Options(extras=("nope",)))


def test_what_may_be_left_out(tree: Tree) -> None:
    root = tree({"pyproject.toml": PROJECT + group("test"), "requirements.txt": ""})
    assert plan(root, Options()).optional == ()
    made = plan(root, Options(requirements=("attrs==1",)))
    assert made.optional == ("group test", "requirements.txt")
    less = without_optional(made)
    assert (less.groups, less.files, less.install) == ((), (), "editable")
    assert less.notes == (
        "left out, because it could not be installed with the rest: group test, requirements.txt",
    )


def test_dev_is_a_last_resort(tree: Tree) -> None:
    root = tree({"pyproject.toml": PROJECT + group("dev") + extra("dev")})
    assert plan(root, Options()).optional == ("group dev", "extra dev")
    assert plan(root, Options(groups=("dev",))).optional == ("extra dev",)


def test_a_project_that_may_not_build(tree: Tree) -> None:
    made = plan(
        tree({"pyproject.toml": '[project]\nname = "a"\nversion = "1"\ndependencies = ["attrs"]\n'}),
        Options(),
    )
    only = without_project(made)
    assert (only.install, only.project_dependencies) == ("no", True)
    assert not only.nothing


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"pyproject.toml": "[project\nname"}, "pyproject.toml is broken: .*line 1"),
        ({"pyproject.toml": "project = 3"}, "project is not a table"),
        ({"pyproject.toml": "[build-system]\nrequires = 3"}, "build-system.requires is not a list"),
        ({"setup.cfg": "no section"}, "setup.cfg is broken"),
    ],
)
def test_broken_files_are_named(tree: Tree, files: dict[str, str], words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        plan(tree(files), Options())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "pretends"),
    [
        (
            {
                "pyproject.toml": '[build-system]\nrequires = ["setuptools-scm"]\n'
                '[project]\nname = "a"\ndynamic = ["version"]\n'
            },
            True,
        ),
        ({"setup.py": "setup(use_scm_version=True)"}, True),
        ({"setup.py": "setup(use_scm_version=True)", "PKG-INFO": "Version: 3\n"}, False),
        ({"setup.py": "setup(use_scm_version=True)", ".git/HEAD": ""}, False),
        ({"pyproject.toml": PROJECT}, False),
        ({"setup.py": "setup(version='1')"}, False),
    ],
)
def test_versions_from_a_missing_history(tree: Tree, files: dict[str, str], pretends: bool) -> None:
    assert plan(tree(files), Options()).pretend_version is pretends


@pytest.mark.parametrize(
    "line", ["-e .", "-r x.txt", "--index-url=http://x", "a @ file:///etc", "git+https://x/y", "a b c"]
)
def test_requirements_are_names_and_versions(line: str) -> None:
    with pytest.raises(BuildError, match="option requirements"):
        parse([line])


def test_the_submission_wins() -> None:
    asked = parse(["pytest==8.0", "attrs", "# comment", "", "My_Thing>=2", "coverage[toml]>=7"])
    assert overrides(asked, "my-thing") == ["pytest==8.0", "coverage[toml]>=7"]
    exported = "# header\n-e .\npytest==9.0 ; python_version > '3'\nother==1\n./local\nx @ https://h/x.whl\n"
    assert lock_constraints(exported, {"pytest"}) == ["other==1"]


def test_only_listed_variables_reach_children() -> None:
    wanted = {
        "SSL_CERT_FILE": "a",
        "https_proxy": "b",
        "NO_PROXY": "c",
    }
    tools = {"UV_INDEX_URL": "d", "PIP_CERT": "e"}
    others = {"HOME": "/root", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "x", "UV_CACHE_DIR": "/elsewhere"}
    environ = {**others, **wanted, **tools}
    assert network_variables(environ) == wanted
    assert build_variables(environ) == {**wanted, **tools}
