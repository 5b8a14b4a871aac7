"""The plugin's pure parts: the verdict rule, the options left out, the choice of a configuration."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.runner.launch import PLUGIN
from tests.runner.rich_suite import write

spec = importlib.util.spec_from_file_location("testring_plugin_under_test", PLUGIN)
assert spec is not None
assert spec.loader is not None
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def report(text: str) -> Any:
    """``call failed``, ``setup skipped xfail``, ``subtest failed``..."""
    when, outcome, *xfail = text.split()
    name = "SubtestReport" if when == "subtest" else "TestReport"
    fields = {"when": "call" if when == "subtest" else when, "outcome": outcome, "duration": 0.5}
    fields |= {kind: outcome == kind for kind in ("passed", "failed", "skipped")}
    made = type(name, (SimpleNamespace,), {})(**fields)
    if xfail:
        made.wasxfail = "reason"
    return made


S, T = "setup passed", "teardown passed"


@pytest.mark.parametrize(
    ("reports", "outcome"),
    [
        ([S, "call passed", T], "passed"),
        ([S, "call failed", T], "failed"),
        ([S, "call failed", "teardown failed"], "failed"),
        ([S, "call passed", "teardown failed"], "error"),
        (["setup failed", T], "error"),
        (["setup skipped", T], "skipped"),
        ([S, "call skipped", T], "skipped"),
        ([S, "call skipped", "teardown failed"], "error"),
        ([S, "call skipped xfail", T], "xfailed"),
        (["setup skipped xfail", T], "xfailed"),
        ([S, "call passed xfail", T], "xpassed"),
        ([S, "call passed xfail", "teardown failed"], "error"),
        ([S, "subtest passed", "subtest failed", "call passed", T], "failed"),
        ([S, "subtest skipped", "call passed", T], "passed"),
        ([S, "subtest skipped xfail", "call passed", T], "passed"),
        ([S, "call rerun", S, "call passed", T], "passed"),
        ([S, "call rerun", S, "call failed", T], "failed"),
        (["setup rerun", S, "call rerun", S, "call passed", "teardown failed"], "error"),
        ([S, T], "notrun"),
        ([], "notrun"),
    ],
)
def test_rule(reports: list[str], outcome: str) -> None:
    assert plugin.judge([report(text) for text in reports])[0] == outcome


@pytest.mark.parametrize(
    ("given", "kept", "dropped"),
    [
        ("-n auto tests", "tests", "-n auto"),
        ("-n4 -nauto --numprocesses=2 --dist=load --dist loadgroup -v", "-v", None),
        ("-x -vx -xvs -qxl --maxfail=1 --maxfail 2", "-v -vs -ql", None),
        ("--lf --sw --stepwise-skip --ff --nf", "--ff --nf", None),
        ("--pdb --trace --pdbcls=a:b --pdbcls a:b", "", None),
        ("--junitxml=a.xml --junit-xml a.xml --html=a --report-log=b --json-report-file x", "", None),
        ("-k not-x -m n -p no:xdist -rA -Werror --tb=short -o a=b", "=", ""),
        ("--durations=3 --no-header -- -x", "=", ""),
        ("--last-failed-no-failures none -d -f", "--last-failed-no-failures none", "-d -f"),
    ],
)
def test_options_left_out(given: str, kept: str, dropped: str | None) -> None:
    args, gone = plugin.neutralise(given.split())
    assert args == (given if kept == "=" else kept).split()
    if dropped is not None:
        assert " ".join(gone) == dropped


ABOVE = {"pytest.ini": "[pytest]\naddopts = --from-above\n", "setup.py": ""}
LAYOUTS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "nothing": ({"tests/test_a.py": ""}, ()),
    "nothing, one folder": ({"tests/test_a.py": ""}, ("tests",)),
    "ini": ({"pytest.ini": "", "tests/test_a.py": ""}, ("tests",)),
    "pyproject without a table": (
        {"pyproject.toml": "[project]\nname = 'a'\n", "tests/a.py": ""},
        ("tests",),
    ),
    "pyproject": ({"pyproject.toml": "[tool.pytest.ini_options]\nminversion = '6'\n"}, ()),
    "tox before cfg": ({"tox.ini": "[pytest]\n", "setup.cfg": "[tool:pytest]\n"}, ()),
    "cfg": ({"tox.ini": "[tox]\n", "setup.cfg": "[tool:pytest]\n"}, ()),
    "in a folder": ({"pytest.ini": "[pytest]\n", "a/pytest.ini": "[pytest]\n", "a/t/x.py": ""}, ("a/t",)),
    "two folders": ({"a/tox.ini": "[pytest]\n", "a/x.py": "", "b/x.py": ""}, ("b", "a")),
    "setup.py in a folder": ({"a/setup.py": "", "a/t/test_a.py": ""}, ("a/t",)),
    "a node id": ({"a/tox.ini": "[pytest]\n", "a/test_x.py": "def test_a(): pass"}, ("a/test_x.py::test_a",)),
    "given": ({"own.ini": "[pytest]\n", "a/pytest.ini": ""}, ("-c", "own.ini", "a")),
    "root given": ({"a/pytest.ini": "", "b/x.py": ""}, ("--rootdir=b", "a")),
}

SHOW = """
def pytest_report_header(config):
    return f"SHOWN {config.rootpath}|{config.inipath}|{config.invocation_params.dir}"
"""


CASES = [(layout, "9") for layout in LAYOUTS]
CASES += [
    (layout, version) for layout in ("nothing", "pyproject without a table") for version in ("7.4", "8")
]


@pytest.mark.parametrize(("layout", "version"), CASES)
def test_same_root_and_file(layout: str, version: str, pythons: dict[str, Path], tmp_path: Path) -> None:
    """Beside a parent folder that has nothing; then the parent's files must change nothing."""
    files, args = LAYOUTS[layout]
    tree = write(tmp_path / "above" / "tree", files)
    probe = write(tmp_path / "probe", {"show_header.py": SHOW})
    plain = header(pythons[version], tree, probe, args)
    chosen = plugin_options(pythons[version], tree, args)
    assert all("=" in option for option in chosen)
    write(tmp_path / "above", ABOVE)
    assert plugin_options(pythons[version], tree, args) == chosen
    assert header(pythons[version], tree, probe, [*chosen, *args]) == plain


def header(python: Path, tree: Path, probe: Path, args: Any) -> str:
    command = [str(python), "-m", "pytest", "-p", "show_header", "--collect-only", *args]
    done = subprocess.run(
        command, cwd=tree, env={"PYTHONPATH": str(probe)}, capture_output=True, text=True, check=False
    )
    shown = [line for line in done.stdout.splitlines() if line.startswith("SHOWN")]
    assert shown, done.stdout + done.stderr
    return shown[0].replace("|/dev/null|", "|None|")


def plugin_options(python: Path, tree: Path, args: Any) -> list[str]:
    code = (
        "import sys, importlib.util as u\n"
        f"s = u.spec_from_file_location('p', {str(PLUGIN)!r}); m = u.module_from_spec(s)\n"
        "s.loader.exec_module(m)\n"
        "import os; print('\\n'.join(m.config_options(sys.argv[1:], os.getcwd())))"
    )
    done = subprocess.run(
        [str(python), "-B", "-c", code, *args], cwd=tree, env={}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_stays_one_file_without_the_project() -> None:
    code = f"import runpy; runpy.run_path({str(PLUGIN)!r}, run_name='looked_at')"
    subprocess.run([sys.executable, "-I", "-S", "-W", "error", "-c", code], check=True, cwd="/")
