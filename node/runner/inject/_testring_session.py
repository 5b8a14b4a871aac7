"""One pytest session that takes its work module by module. PYTEST_DONT_REWRITE

Run by the project's own interpreter, ``PYTHON /path/_testring_session.py ARGS...``, in the project's
root. It needs the standard library and pytest 7.4 to 9, becomes a pytest plugin of the name
``_testring_session`` without touching ``sys.path``, and goes on as ``python -m pytest ARGS`` would.

It talks to its supervisor over an inherited socket (its number is in ``TESTRING_CHANNEL``, which is
removed from the environment), one JSON array a line. ``n`` is the number of an assignment.

    from the supervisor                   to the supervisor
    ["setup", mode, root]                 ["listing", module, tests]           (whole sessions)
    ["run", n, module, select | null]     ["opened", modules, command, versions, notes]
    ["withdraw", n]                       ["collecting", n, module]
    ["close"]                             ["collected", n, module, tests, groups, last]
                                          ["started", n, test]   ["verdict", n, module, test, {...}]
                                          ["done", n]            ["handed", n, tests]
                                          ["stopped", reason]    ["ended", exit code, reason]

``test`` is [node id, occurrence]. The channel is read between tests only, so there is no thread.
"""

import collections
import contextlib
import copy
import faulthandler
import fcntl
import json
import os
import re
import resource
import runpy
import select
import shlex
import signal
import sys

NAME = "_testring_session"
DUMP_SIGNAL = signal.SIGRTMIN + 11
KEEP = 32768  # characters kept at each end of a traceback or an output
PAGE = 2000  # tests in one listing
PAGE_CHARACTERS = 400000
REPORTS = 50
CHANNEL_LOST = 70  # exit code when a test has closed or replaced the channel


def clip(text, keep=KEEP):
    """``text`` with at most ``keep`` characters from each end."""
    if len(text) <= 2 * keep + 100:
        return text
    return "{}\n[... {} characters left out ...]\n{}".format(text[:keep], len(text) - 2 * keep, text[-keep:])


def one_line(text):
    lines = str(text).strip().splitlines()
    return lines[0][:1000] if lines else ""


# --- the channel ------------------------------------------------------------------------------


def high_descriptor(descriptor, inheritable=False):
    """A duplicate out of the way of tests that close or count small descriptors."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    floor = 900 if soft < 0 or soft > 1000 else max(10, soft - 20)
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)


class Channel:
    """Lines of JSON both ways. Only the process that opened it may use it: forks of tests may not."""

    def __init__(self, descriptor):
        self.descriptor = high_descriptor(descriptor)
        os.close(descriptor)
        self.owner = os.getpid()
        self.identity = self._identity()
        self.out = []
        self.rest = b""
        self.poll = select.poll()
        self.poll.register(self.descriptor, select.POLLIN)
        os.register_at_fork(after_in_child=self._forget)

    def _identity(self):
        try:
            status = os.fstat(self.descriptor)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _forget(self):
        if self._identity() == self.identity:
            os.close(self.descriptor)

    def check_owner(self):
        """A forked child that returned from a test into pytest must not go on as the session."""
        if os.getpid() != self.owner:
            os._exit(0)

    def _check(self):
        self.check_owner()
        if self._identity() != self.identity:
            os.write(2, b"testring: a test closed the descriptors of its own runner\n")
            os._exit(CHANNEL_LOST)

    def queue(self, *event):
        self.out.append(json.dumps(event, ensure_ascii=False, separators=(",", ":")))

    def flush(self):
        """Write what is queued in one go; blocks while the supervisor is behind."""
        if not self.out:
            return
        self._check()
        self.out.append("")
        data = memoryview("\n".join(self.out).encode("utf-8", "replace"))
        self.out = []
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            os._exit(CHANNEL_LOST)  # the node is gone, and nobody is left to work for

    def read(self, block):
        """The commands that have come; with ``block`` at least one."""
        if block:
            self.flush()
        while True:
            self._check()
            ready = self.poll.poll(None if block and b"\n" not in self.rest else 0)
            if ready:
                data = os.read(self.descriptor, 1 << 20)
                if not data:
                    os._exit(CHANNEL_LOST)
                self.rest += data
            lines = self.rest.split(b"\n")
            self.rest = lines.pop()
            if lines or not block:
                return [json.loads(line) for line in lines]


# --- which configuration file pytest is to use ------------------------------------------------


def config_names():
    """Configuration file names this pytest knows, in its own order of precedence."""
    import pytest
    from _pytest.config import findpaths

    table = getattr(findpaths, "CONFIG_LOADERS_BY_NAME", None)
    if table is not None:
        return list(table)
    names = ["pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg"]
    return (["pytest.toml", ".pytest.toml"] if pytest.version_tuple[0] >= 9 else []) + names


def upwards(folder, root):
    """``folder`` and its parents up to ``root``; nothing if it is outside."""
    while folder == root or folder.startswith(root + os.sep):
        yield folder
        folder = os.path.dirname(folder)


def locate_config(folders, root):
    """The first configuration file at or above ``folders`` and not above ``root``, or None."""
    from pathlib import Path

    import pytest
    from _pytest.config.findpaths import load_config_dict_from_file

    bare_project = None
    for start in folders:
        for folder in upwards(start, root):
            for name in config_names():
                path = os.path.join(folder, name)
                if not os.path.isfile(path):
                    continue
                if name == "pyproject.toml" and bare_project is None:
                    bare_project = path
                try:
                    found = load_config_dict_from_file(Path(path)) is not None
                except (pytest.UsageError, pytest.fail.Exception):
                    found = True  # it is broken: pytest itself shall say so
                if found:
                    return path
    return bare_project if pytest.version_tuple[:2] >= (8, 1) else None


def config_options(args, root):
    """Options that make pytest choose what it would choose if nothing lay above ``root``.

    Follows ``_pytest.config.findpaths.determine_setup``: a configuration file above the common
    ancestor of the arguments, else a folder with ``setup.py``, else a file above any argument.
    """
    from _pytest.config import get_config

    config = get_config(list(args))
    words = shlex.split(os.environ.get("PYTEST_ADDOPTS", "")) + list(args)
    known, unknown = config._parser.parse_known_and_unknown_args(words, namespace=copy.copy(config.option))
    config._ensure_unconfigure()
    if known.inifilename:
        return []
    paths = [word.split("::")[0] for word in known.file_or_dir + unknown if not word.startswith("-")]
    paths = [os.path.abspath(path) for path in paths if os.path.exists(path)]
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in paths]
    ancestor = os.path.commonpath(folders) if folders else root
    found = locate_config([ancestor], root)
    folder = found and os.path.dirname(found)
    if found is None:
        with_setup = (f for f in upwards(ancestor, root) if os.path.isfile(os.path.join(f, "setup.py")))
        folder = next(with_setup, None)
        if folder is None and folders != [ancestor]:
            found = locate_config(folders, root)
            folder = found and os.path.dirname(found)
    options = ["--config-file=" + (found or os.devnull)]
    if not known.rootdir:
        options.append("--rootdir=" + (folder or root))
    if found is None and known.confcutdir is None:
        options.append("--confcutdir=" + (folder or root))
    return options


# --- options that make no sense inside one runner ----------------------------------------------

WITH_VALUE = (
    "-n --numprocesses --maxprocesses --dist --tx --px --max-worker-restart --testrunuid --rsyncdir "
    "--junitxml --junit-xml --html --css --report-log --json-report-file --csv --md-report-output "
    "--maxfail --pdbcls"
).split()
FLAGS = (
    "-d -f --looponfail --pdb --trace -x --exitfirst --lf --last-failed --sw --stepwise --sw-skip "
    "--stepwise-skip --sw-reset --stepwise-reset --loadscope-reorder --no-loadscope-reorder"
).split()
FORCED = {
    "numprocesses": None,
    "dist": "no",
    "distload": False,
    "looponfail": False,
    "tx": [],
    "usepdb": False,
    "trace": False,
    "maxfail": 0,
    "lf": False,
    "stepwise": False,
    "stepwise_skip": False,
    "xmlpath": None,
    "htmlpath": None,
    "report_log": None,
}


def neutralise(args):
    """(arguments to keep, arguments dropped): no workers, debugger, report files, early stop."""
    kept, dropped = [], []
    words = iter(args)
    for word in words:
        if word == "--":
            kept += [word, *words]
        elif word in WITH_VALUE:
            dropped.append(" ".join([word, *[value for value in [next(words, None)] if value is not None]]))
        elif word in FLAGS or word.split("=")[0] in WITH_VALUE or re.match(r"-n=?\w+$", word):
            dropped.append(word)
        elif re.match(r"-[vqslhxdf]+$", word) and set(word) & set("xdf"):
            kept += ["-" + rest for rest in [re.sub("[-xdf]", "", word)] if rest]
            dropped += ["-" + letter for letter in word if letter in "xdf"]
        else:
            kept.append(word)
    return kept, dropped


# --- from reports to one verdict ----------------------------------------------------------------


def is_subtest(report):
    return type(report).__name__.lower().startswith("subtest")


def is_xfail(report):
    return hasattr(report, "wasxfail") and not is_subtest(report)


RULES = (
    # outcome, the report that decides it: the first row that any report matches wins
    ("failed", lambda report: report.failed and report.when == "call"),
    ("error", lambda report: report.failed),
    ("xfailed", lambda report: report.skipped and is_xfail(report)),
    ("xpassed", lambda report: report.passed and is_xfail(report)),
    ("skipped", lambda report: report.skipped and not is_subtest(report)),
    ("passed", lambda report: report.passed and report.when == "call" and not is_subtest(report)),
)


def judge(reports):
    """(outcome, deciding report) of one test from all that pytest reported about it, in order.

    Reports before the last ``rerun`` belong to an earlier try and do not count. A failed call
    (strict xpass and failed subtests included) is ``failed`` even if the teardown fails too; a
    failure in setup or teardown alone is ``error``. No deciding report: ``notrun``.
    """
    reruns = [index for index, report in enumerate(reports) if report.outcome == "rerun"]
    counted = reports[reruns[-1] + 1 :] if reruns else reports
    for outcome, matches in RULES:
        for report in counted:
            if matches(report):
                return outcome, report
    return "notrun", None


def why(outcome, report):
    """One line for people: the assertion, the skip reason."""
    if report is None:
        return "pytest reported nothing about this test"
    if outcome in ("xfailed", "xpassed"):
        return one_line(report.wasxfail)
    if outcome == "passed":
        return ""
    if isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        return one_line(reason[len("Skipped: ") :] if reason.startswith("Skipped: ") else reason)
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return one_line(crash.message)
    lines = [line for line in report.longreprtext.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else ""


def verdict(outcome, decider, reports):
    """The verdict of a test or of a collector, as it is sent."""
    broken = [report.longreprtext for report in reports if report.failed]
    sections = reports[-1].sections if reports else []
    return {
        "outcome": outcome,
        "seconds": round(sum(getattr(report, "duration", 0.0) for report in reports), 6),
        "message": why(outcome, decider),
        "traceback": clip("\n".join(broken)) if broken else "",
        "output": clip("".join("--- {} ---\n{}\n".format(*s) for s in sections)) if sections else "",
        "reports": [
            "{} {}".format("subtest" if is_subtest(r) else getattr(r, "when", "collect"), r.outcome)
            for r in reports[:REPORTS]
        ],
    }


# --- what the session knows ----------------------------------------------------------------------


class Test:
    """A planned test: an item to run, or the finished verdict of a collector that gave none."""

    __slots__ = ("item", "key", "module", "result")

    def __init__(self, module, nodeid, item=None, result=None):
        nodeid = nodeid.encode("utf-8", "replace").decode("utf-8")
        self.module, self.item, self.result = module, item, result
        self.key = (nodeid, module.seen[nodeid])
        module.seen[nodeid] += 1

    @property
    def group(self):
        """Name of its ``xdist_group``, as pytest-xdist would build it, or an empty text."""
        if self.item is None:
            return ""
        marks = self.item.iter_markers("xdist_group")
        names = [str(m.args[0] if m.args else m.kwargs.get("name", "default")) for m in marks]
        return "_".join(sorted(names))


class Module:
    """What pytest collects one file into. Several collectors may share it (tests and doctests)."""

    def __init__(self, name):
        self.name = name
        self.collectors = []  # held back, in pytest's order
        self.tests = None  # not collected yet
        self.seen = collections.Counter()


class Work:
    """One assignment. ``tests`` is None until it is prepared."""

    def __init__(self, number, module, wanted):
        self.number, self.module = number, module
        self.wanted = None if wanted is None else {(nodeid, occurrence) for nodeid, occurrence in wanted}
        self.tests = None
        self.begun = False


def pages(tests):
    """Lists of test keys that fit one message each; at least one."""
    page, size = [], 0
    for test in tests:
        if page and (len(page) == PAGE or size > PAGE_CHARACTERS):
            yield page
            page, size = [], 0
        page.append(test.key)
        size += len(test.key[0])
    yield page


def module_name(node):
    """Node id of the file that an item or collector belongs to."""
    import pytest

    for parent in node.listchain():
        if isinstance(parent, pytest.File) and not isinstance(parent, pytest.Package):
            return parent.nodeid.split("::")[0] or str(parent.path)
    return node.nodeid.split("::")[0] or "."
