"""A process that has imported pytest; each session of the base environment is a fork of it.

Usage: ``PYTHON zygote.py FD``, started by the warden with the interpreter of an environment that holds
nothing but pytest. ``FD`` is a socket with jobs as the warden gets them. A fork starts in tens of
milliseconds where a new interpreter takes hundreds. It must be to its tests as a new interpreter: the
same modules imported, path, arguments, environment and signals. A project that provides a module of
a name that is already imported here would see the wrong one: its fork execs after all.
"""

from __future__ import annotations

import sys

del sys.path[0]  # this folder


def _import_pytest() -> frozenset[str]:
    """Import what ``python -m pytest`` imports before it looks at the project; its modules' names."""
    import runpy  # noqa: F401 - loaded, not used

    import pytest  # noqa: F401 - loaded, not used
    from _pytest.config import default_plugins

    for name in default_plugins:
        __import__(f"_pytest.{name}")
    return frozenset(sys.modules)


PLAIN = _import_pytest()
PATH = list(sys.path)

# Only now (E402): what pytest has not imported itself must not count as imported.
import os  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import signal  # noqa: E402
import site  # noqa: E402
import socket  # noqa: E402
import types  # noqa: E402

import caretaker  # noqa: E402
import foreman  # noqa: E402
import processes  # noqa: E402

del sys.path[0]


def session_code() -> types.CodeType:
    """The injected plugin, compiled once."""
    path = os.path.join(HERE, "inject", "_testring_session.py")
    with open(path, "rb") as source:
        return compile(source.read(), path, "exec", dont_inherit=True)


def shadowed(folders: list[str]) -> bool:
    """Whether one of the folders, which come first on the path, has a module that is imported already."""
    taken = {name.partition(".")[0] for name in PLAIN}
    for folder in folders:
        try:
            entries = os.listdir(folder)
        except OSError:
            continue  # not a folder: nothing can be imported from it, or a zip: rare enough to exec
        for entry in entries:
            name, dot, _ = entry.partition(".")
            if name in taken and (dot or os.path.exists(os.path.join(folder, entry, "__init__.py"))):
                return True
    return False


def fork_instead_of_exec(job: dict, failure: int) -> None:
    """What a job's child does here: go on as the runner, unless it needs an interpreter of its own."""
    folders = [job["cwd"], *filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))]
    if shadowed(folders) or not all(os.path.isdir(folder) for folder in folders):
        caretaker.execute(job, failure)
    os.close(failure)
    processes.allow_dumps()
    raise caretaker.Unwind(job)


def become(job: dict) -> None:
    """Make this process look as one that was started with the job's command and environment."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(job["env"])
    python, script, *arguments = job["argv"]
    sys.orig_argv[:] = [python, script, *arguments]
    sys.argv[:] = [script, *arguments]
    roots = filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [os.path.dirname(script), *roots, *PATH]
    site.USER_BASE = site.USER_SITE = None
    site.getusersitepackages()
    for name in set(sys.modules) - PLAIN:
        del sys.modules[name]


def main() -> dict:
    """Serve until the warden is gone; returns only in a fork, with the job it is to run."""
    processes.become_subreaper()
    processes.refuse_dumps()
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    jobs = socket.socket(fileno=int(sys.argv[1]))
    jobs.set_inheritable(False)
    try:
        jobs.send(b"ready")
    except BrokenPipeError:
        # The warden died meanwhile.
        sys.exit(0)
    try:
        foreman.Foreman(jobs, fork_instead_of_exec).run()
    except caretaker.Unwind as unwind:
        return unwind.job
    sys.exit(0)


if __name__ == "__main__":
    CODE = session_code()
    JOB = main()
    become(JOB)
    module = types.ModuleType("__main__")
    module.__file__ = sys.argv[0]
    sys.modules["__main__"] = module
    exec(CODE, module.__dict__)
