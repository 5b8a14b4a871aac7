"""What a test can see of the process it runs in, as a suite of one test that prints it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.runner.harness import Runners

STATE = """
    import gc, inspect, json, os, random, resource, signal, site, sys, tempfile, threading

    def test_state():
        lines = open("/proc/self/status").read().splitlines()
        status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
        tree, home = os.getcwd(), os.environ["HOME"]
        found = {
            "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd")],
            "handlers": [str(signal.getsignal(n)) for n in (1, 2, 13, 15, 17)],
            "status": [status[name] for name in ("Umask", "NoNewPrivs", "Seccomp", "CapEff", "CapBnd")],
            "uid": [os.getresuid(), os.getresgid(), os.getgroups()],
            "own": [os.stat("/proc/self/environ").st_uid == os.getuid(), open("/proc/self/environ").read(0)],
            "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
            "session": os.getsid(0) == os.getpid(),
            "limits": [resource.getrlimit(n) for n in range(16)],
            "oom": open("/proc/self/oom_score_adj").read(),
            "threads": threading.active_count(),
            "path": sys.path, "argv": sys.argv, "orig_argv": sys.orig_argv, "flags": list(sys.flags),
            "executable": [sys.executable, sys.prefix, sys.base_prefix],
            "environment": dict(os.environ),
            "modules": sorted(sys.modules),
            "hash": hash("a"),
            "streams": [[s.encoding, s.errors, s.line_buffering] for s in (sys.__stdout__, sys.__stderr__)],
            "main": [sys.modules["__main__"].__file__, sys.modules["__main__"].__spec__.name],
            "hooks": [len(sys.meta_path), len(sys.path_hooks), sys.warnoptions],
            "gc": [gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()],
            "recursion": sys.getrecursionlimit(),
            "folders": [tempfile.gettempdir(), site.USER_SITE, site.ENABLE_USER_SITE],
            "cwd": tree,
        }
        text = json.dumps(found, sort_keys=True).replace(home, "HOME").replace(tree, "TREE")
        print("STATE" + text + "END")
        print("CHANCE" + str(random.random()) + "END")
        print("COMMAND" + open("/proc/self/cmdline").read().replace("\\0", " ") + "END")
"""


def printed(runners: Runners, tree: Path, word: str, **extra: Any) -> str:
    """What the suite's one test printed between ``word`` and ``END``."""
    session = runners.open(tree, "-rA", **extra)
    (module,) = session.opened().modules
    session.run(module)
    session.close()
    assert session.ended().how == "closed"
    (verdict,) = session.verdicts
    assert verdict.outcome == "passed", verdict.traceback
    return verdict.output.partition(word)[2].partition("END")[0]


def command(runners: Runners, tree: Path, **extra: Any) -> str:
    """``zygote`` or ``exec``: how the session's process was started."""
    line = printed(runners, tree, "COMMAND", **extra)
    assert ("zygote.py" in line) != ("_testring_session.py" in line), line
    return "zygote" if "zygote.py" in line else "exec"
