"""Groups in the tables of Poetry, PDM, hatch and uv: what is read of them, and when they are used."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from node.environment import poetry
from node.environment.declared import plan, without_optional
from node.environment.errors import BuildError
from node.environment.toolgroups import ToolGroup, read
from proto.messages import Options

Tree = Callable[[dict[str, str]], Path]
PROJECT = '[build-system]\nrequires = ["x"]\n[project]\nname = "a"\nversion = "1"\n'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*", "x"),
        ("^1.2.3", "x>=1.2.3,<2"),
        ("^0.2.3", "x>=0.2.3,<0.3"),
        ("^0.0.3", "x>=0.0.3,<0.0.4"),
        ("^0", "x>=0,<1"),
        ("^0.0", "x>=0.0,<0.1"),
        ("~1.2.3", "x>=1.2.3,<1.3"),
        ("~1", "x>=1,<2"),
        ("~=1.2", "x~=1.2"),
        ("1.2.*", "x==1.2.*"),
        ("1.2", "x==1.2"),
        ("=1.2", "x==1.2"),
        (">= 1.2, < 2", "x>=1.2,<2"),
        (">=1.2 <2", "x>=1.2,<2"),
        ("!=1.3, ^1.2", "x!=1.3,>=1.2,<2"),
        ("^7.4 || ^8.0", "x>=8.0,<9"),
        ({"version": "^1.0", "extras": ["a", "b"]}, "x[a,b]>=1.0,<2"),
        ({"version": "*", "python": "*"}, "x"),
        (
            {"version": "1", "python": "^3.8"},
            'x==1 ; (python_full_version >= "3.8" and python_full_version < "4")',
        ),
        (
            {"version": "1", "python": "<3.8 || >=3.12"},
            'x==1 ; (python_full_version < "3.8" or python_full_version >= "3.12")',
        ),
        (
            {"version": "1", "platform": "linux", "markers": "extra == 'q' or python_version > '3'"},
            "x==1 ; sys_platform == \"linux\" and (extra == 'q' or python_version > '3')",
        ),
    ],
)
def test_poetry_constraints(value: object, expected: str) -> None:
    assert list(poetry.requirements("x", value)) == [expected]


def test_poetry_names_another_version_for_another_python() -> None:
    value = [{"version": "1", "python": "<3.8"}, {"version": "2", "python": ">=3.8"}]
    assert list(poetry.requirements("x", value)) == [
        'x==1 ; (python_full_version < "3.8")',
        'x==2 ; (python_full_version >= "3.8")',
    ]


@pytest.mark.parametrize(
    "value",
    [{"git": "https://h/x.git"}, {"path": "../x"}, {"url": "https://h/x.whl"}, "^one", 3, {"extras": "a"}],
)
def test_poetry_entries_that_are_no_requirement(value: object) -> None:
    with pytest.raises(poetry.NotARequirement, match=r"^x"):
        list(poetry.requirements("x", value))


def groups(text: str, hatch_toml: str = "") -> dict[str, ToolGroup]:
    return {group.label: group for group in read(tomllib.loads(text), tomllib.loads(hatch_toml))}


def test_poetry_groups() -> None:
    found = groups("""
[tool.poetry.dev-dependencies]
pytest = "^7.0"
black = "*"
[tool.poetry.group.dev.dependencies]
black = "^24"
[tool.poetry.group.test]
optional = true
include-groups = ["dev", "test"]
[tool.poetry.group.test.dependencies]
python = "^3.9"
attrs = "^23"
own = { path = "tools/own" }
""")
    assert found["Poetry group dev"].requirements == ("pytest>=7.0,<8", "black>=24,<25")
    assert found["Poetry group test"].requirements == ("pytest>=7.0,<8", "black>=24,<25", "attrs>=23,<24")
    assert found["Poetry group test"].left_out == ("own (from a path)",)


def test_pdm_groups() -> None:
    found = groups(
        '[tool.pdm.dev-dependencies]\ntest = ["pytest>=7", "-e file:///${PROJECT_ROOT}/x#egg=x"]\n'
    )
    assert found["PDM group test"].requirements == ("pytest>=7",)
    assert found["PDM group test"].left_out == ("-e file:///${PROJECT_ROOT}/x#egg=x",)


def test_hatch_environments() -> None:
    found = groups(
        """
[tool.hatch.envs.default]
dependencies = ["pytest"]
features = ["fast"]
[tool.hatch.envs.test]
extra-dependencies = ["attrs", "own @ {root:uri}/own"]
[tool.hatch.envs.lint]
detached = true
dependencies = ["ruff"]
[tool.hatch.envs.loop]
template = "other"
[tool.hatch.envs.other]
template = "loop"
dependency-groups = ["g"]
""",
        '[envs.lint]\ntemplate = "lint"\ndependencies = ["black"]\n',
    )
    assert found["hatch environment test"].requirements == ("pytest", "attrs")
    assert found["hatch environment test"].left_out == ("own @ {root:uri}/own",)
    assert found["hatch environment test"].extras == ("fast",)
    assert found["hatch environment lint"].requirements == ("black",)
    assert found["hatch environment loop"].groups == ("g",)


def test_uv_dev_dependencies() -> None:
    assert groups('[tool.uv]\ndev-dependencies = ["pytest"]\n')["uv's dev-dependencies"].name == "dev"


@pytest.mark.parametrize(
    "text", ["tool = 3", "[tool]\npoetry = 3", "[tool.poetry]\ngroup = 3", "[tool.hatch.envs]\ntest = 3"]
)
def test_tables_of_another_shape_hold_nothing(text: str) -> None:
    assert groups(text) == {}


POETRY = '[tool.poetry.group.{0}.dependencies]\nattrs = "*"\n'
EXTRA = '[project.optional-dependencies]\n{0} = ["attrs"]\n'
GROUP = '[dependency-groups]\n{0} = ["attrs"]\n'


@pytest.mark.parametrize(
    ("text", "more", "used"),
    [
        (POETRY.format("test"), {}, ["Poetry group test"]),
        (POETRY.format("dev"), {}, ["Poetry group dev"]),
        (POETRY.format("dev"), {"requirements-test.txt": ""}, ["requirements-test.txt"]),
        (POETRY.format("docs"), {}, []),
        (POETRY.format("test") + EXTRA.format("tests"), {}, ["extra tests"]),
        (POETRY.format("test") + GROUP.format("testing"), {}, ["group testing"]),
        (POETRY.format("test") + GROUP.format("dev"), {}, ["Poetry group test"]),
        (POETRY.format("dev") + GROUP.format("dev"), {}, ["group dev"]),
        (
            POETRY.format("dev"),
            {"hatch.toml": '[envs.hatch-test]\ndependencies = ["attrs"]\n'},
            ["hatch environment hatch-test"],
        ),
        ("", {"hatch.toml": '[envs.default]\ndependencies = ["attrs"]\n'}, ["hatch environment default"]),
    ],
)
def test_when_they_are_used(tree: Tree, text: str, more: dict[str, str], used: list[str]) -> None:
    made = plan(tree({"pyproject.toml": PROJECT + text, **more}), Options())
    assert made.notes == ((f"installed from {', '.join(used)}",) if used else ())


@pytest.mark.parametrize(
    ("text", "name", "extra"),
    [
        ('[tool.poetry]\nname = "A.b"\n[tool.poetry.extras]\ntest = ["x"]\n', "a-b", "test"),
        (
            '[tool.flit.metadata]\nmodule = "ab"\n[tool.flit.metadata.requires-extra]\ntest = []\n',
            "ab",
            "test",
        ),
        ('[tool.setuptools.dynamic.optional-dependencies]\ntests = { file = ["t.txt"] }\n', "", "tests"),
    ],
)
def test_names_and_extras_in_the_backends_tables(tree: Tree, text: str, name: str, extra: str) -> None:
    made = plan(tree({"pyproject.toml": '[build-system]\nrequires = ["x"]\n' + text}), Options())
    assert (made.name, made.extras) == (name, (extra,))


def test_a_submission_may_name_them(tree: Tree) -> None:
    root = tree({"pyproject.toml": PROJECT + POETRY.format("docs") + GROUP.format("lint")})
    made = plan(root, Options(groups=("docs", "lint")))
    assert ([tool.label for tool in made.tools], made.groups) == (["Poetry group docs"], ("lint",))
    with pytest.raises(BuildError, match="no dependency group 'x'; it declares: lint, docs"):
        plan(root, Options(groups=("x",)))


def test_a_hatch_environment_brings_the_extras_and_groups_it_names(tree: Tree) -> None:
    envs = '[tool.hatch.envs.test]\nfeatures = ["fast", "gone"]\ndependency-groups = ["more"]\n'
    made = plan(
        tree({"pyproject.toml": PROJECT + envs + EXTRA.format("fast") + GROUP.format("more")}), Options()
    )
    assert (made.extras, made.groups) == (("fast",), ("more",))


def test_dev_groups_of_tools_may_be_dropped(tree: Tree) -> None:
    root = tree({"pyproject.toml": PROJECT + POETRY.format("dev")})
    made = plan(root, Options())
    assert made.optional == ("Poetry group dev",)
    assert without_optional(made).tools == ()


def test_what_was_left_out_is_said(tree: Tree) -> None:
    text = '[tool.poetry.group.test.dependencies]\nown = {git = "https://h/x"}\n'
    made = plan(tree({"pyproject.toml": PROJECT + text}), Options())
    assert made.notes[0] == "left out of Poetry group test, being no plain requirements: own (from a git)"
