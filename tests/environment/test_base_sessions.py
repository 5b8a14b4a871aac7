"""Sessions of the ready base environment, under a uid of their own where the node has one to give."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from node.environment.kept import Environment
from node.runner.children import Warden
from node.workspace import Workspace
from tests.runner.harness import Runners
from tests.runner.process_state import STATE, command, printed
from tests.runner.rich_suite import write


def test_a_fork_is_caged_as_a_new_interpreter_is(
    build: Callable[..., Environment], warden: Warden, site: Workspace, tmp_path: Path
) -> None:
    made = write(tmp_path / "made", {"test_state.py": STATE})
    environment = build({"test_state.py": (made / "test_state.py").read_text()})
    assert environment.base
    states = []
    for base in (False, True):
        dirs = site.session_tree(environment.tree, "p", 0)
        runners = Runners(warden, dirs.top)
        extra = {"python": environment.python, "uid": dirs.uid, "base": base, "home": dirs.home}
        states.append(json.loads(printed(runners, dirs.tree, "STATE", **extra)))
        assert command(runners, dirs.tree, **extra) == ("zygote" if base else "exec")
        site.remove_session(dirs, warden)
    assert states[0] == states[1]
    uid = os.geteuid() if dirs.uid is None else dirs.uid
    assert states[1]["uid"][0] == [uid] * 3
    assert states[1]["own"] == [True, ""]
