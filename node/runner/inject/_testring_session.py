"""One pytest session that takes its work module by module. PYTEST_DONT_REWRITE

Run by the project's own interpreter, ``PYTHON /path/_testring_session.py ARGS...``, in the project's
root. It needs the standard library and pytest 7.4 to 9, becomes a pytest plugin of the name
``_testring_session`` without touching ``sys.path``, and goes on as ``python -m pytest ARGS`` would.

It talks to its supervisor over an inherited socket (its number is in ``TESTRING_CHANNEL``, which is
removed from the environment), one JSON array a line. ``n`` is the number of an assignment.

    from the supervisor                   to the supervisor
    ["setup", mode]                       ["listing", module, tests]           (whole sessions)
    ["run", n, module, select | null]     ["opened", modules, command, versions, notes]
    ["withdraw", n, tail]                 ["collecting", n, module]
    ["close"]                             ["collected", n, module, tests, groups, last]
                                          ["started", n, test]   ["verdict", n, module, test, {...}]
                                          ["done", n]            ["handed", n, tests, why]
                                          ["stopped", reason]    ["ended", exit code]

``test`` is [node id, occurrence]; the tree's own path in an id is written ``<root>``. The channel is
read between tests only, so there is no thread.
"""

import collections
import contextlib
import copy
import faulthandler
import fcntl
import functools
import json
import os
import re
import resource
import runpy
import select
import shlex
import signal
import sys
import time
import types

NAME = "_testring_session"
DUMP_SIGNAL = signal.SIGRTMIN + 11
KEEP = 32768  # characters kept at each end of a traceback or an output
PAGE = 2000  # tests in one listing
PAGE_CHARACTERS = 400000
REPORTS = 50
GIVEN = 5000  # tests handed back at once
GIVEN_CHARACTERS = 1000000
SURE_TESTS = 5  # after so many tests of a module, or so many seconds, it is known what they take
SURE_SECONDS = 0.5
LEAST_GIVEN = 0.3  # seconds that tests must be expected to take to be given to another session
CHANNEL_LOST = 70  # exit code when a test has closed or replaced the channel


def clip(text, keep=KEEP):
    """``text`` with at most ``keep`` characters from each end."""
    if len(text) <= 2 * keep + 100:
        return text
    return f"{text[:keep]}\n[... {len(text) - 2 * keep} characters left out ...]\n{text[-keep:]}"


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
        self.encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
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
        self.out.append(self.encode(event))

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
        while self.poll.poll(None if block else 0):
            self._check()
            data = os.read(self.descriptor, 1 << 20)
            if not data:
                os._exit(CHANNEL_LOST)
            lines = (self.rest + data).split(b"\n")
            self.rest = lines.pop()
            if lines:
                return [json.loads(line) for line in lines]
        return []


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

WITH_VALUE = {
    *("-n", "--numprocesses", "--maxprocesses", "--dist", "--tx", "--px", "--rsyncdir"),
    *("--max-worker-restart", "--testrunuid", "--maxfail", "--pdbcls"),
    *("--junitxml", "--junit-xml", "--html", "--css", "--report-log", "--json-report-file"),
    *("--csv", "--md-report-output"),
}
FLAGS = {
    *("-d", "-f", "--looponfail", "--loadscope-reorder", "--no-loadscope-reorder", "--pdb", "--trace"),
    *("-x", "--exitfirst", "--lf", "--last-failed"),
    *("--sw", "--stepwise", "--sw-skip", "--stepwise-skip", "--sw-reset", "--stepwise-reset"),
}
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


# A project may run on a Python that has no functools.cache.
@functools.lru_cache(maxsize=None)  # noqa: UP033
def is_subtest_type(kind):
    return kind.__name__.lower().startswith("subtest")


def is_subtest(report):
    return is_subtest_type(type(report))


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
    return one_line(lines[-1][2:] if lines[-1].startswith("E ") else lines[-1]) if lines else ""


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
        # Parameters may be paths below the tree, and every session has its own copy of that.
        nodeid = nodeid.replace(module.root, "<root>").encode("utf-8", "replace").decode("utf-8")
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

    def __init__(self, name, root):
        self.name, self.root = name, root
        self.collectors = []  # held back, in pytest's order
        self.tests = None  # not collected yet
        self.seen = collections.Counter()
        self.costs = Costs()


class Costs:
    """Seconds that a module has taken so far, beside its tests: what another session would pay again."""

    def __init__(self):
        self.collection = 0.0
        self.wide = 0.0  # fixtures of module, package and session scope
        self.classes = 0.0  # fixtures of class scope, of all classes so far


class Work:
    """One assignment. ``tests`` is None until it is prepared."""

    def __init__(self, number, module, wanted):
        self.number, self.module = number, module
        self.wanted = None if wanted is None else {(nodeid, occurrence) for nodeid, occurrence in wanted}
        self.tests = None
        self.begun = False
        self.ran = 0
        self.seconds = 0.0  # of the tests that ran, shared fixtures left out


def halve(tests):
    """(where the second half begins, whether that lies inside a class); near a class's end if one is."""
    middle = len(tests) // 2
    parents = [test.item.parent for test in tests]
    borders = [place for place in range(1, len(tests)) if parents[place] is not parents[place - 1]]
    near = [place for place in borders if abs(place - middle) * 4 <= len(tests)]
    cut = min(near, key=lambda place: abs(place - middle), default=middle)
    whole = cut == 0 or parents[cut] is not parents[cut - 1]
    return cut, not whole


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


def collection_warnings(config):
    """The project's warning filters, which pytest sets around its own collection as a whole."""
    from _pytest.warnings import catch_warnings_for_item

    if not config.pluginmanager.hasplugin("warnings"):
        return contextlib.nullcontext()
    return catch_warnings_for_item(config, config.hook, "collect", None)


class TolerantHook:
    """``pytest_collection_modifyitems`` of a lazy session, which may find nothing to order.

    Plain pytest hardly ever asks hooks to order nothing, and some fail on an empty list: during
    the walk and for a module without tests that is no error. A wrong ``-k`` still is.
    """

    def __init__(self, original, notes):
        self.original, self.notes = original, notes

    def __getattr__(self, name):
        return getattr(self.original, name)

    def __call__(self, **arguments):
        try:
            return self.original(**arguments)
        except (LookupError, ValueError, ArithmeticError, StopIteration) as error:
            if arguments["items"]:
                raise
            self.notes.append(f"a pytest_collection_modifyitems hook failed without items: {error!r}")
            return []


# --- the session ------------------------------------------------------------------------------------


class Session:
    """The pytest plugin of one session: holds back file collectors, or not, and runs assignments.

    Words: a module is *collected* once, an assignment is *prepared* (its tests are chosen) when it is
    the first in the queue, and *begun* from the moment its first test was promised to pytest as the
    next item; until then it can be withdrawn.
    """

    def __init__(self, channel, lazy):
        self.channel = channel
        self.lazy = lazy
        self.holding = False
        self.session = None
        self.root = os.getcwd()
        self.command = []
        self.notes = []
        self.modules = {}  # name -> Module, in the order they were met
        self.eager = set()  # files given as FILE::NAME: never held back
        self.broken = []  # (module, node id, result) of collectors that failed or were skipped
        self.collecting = None
        self.items = []
        self.order = []  # whole sessions: every test in serial order
        self.queue = collections.deque()
        self.closing = False
        self.reports = []
        self.running = None  # the module of the test that runs
        self.asked = set()  # assignments whose tails were asked for, without an answer yet

    def module(self, name):
        if name not in self.modules:
            self.modules[name] = Module(name, self.root)
        return self.modules[name]

    # collection

    def pytest_collectreport(self, report):
        if not report.passed:
            outcome = "error" if report.failed else "skipped"
            module = self.collecting or self.module(report.nodeid.split("::")[0] or ".")
            self.broken.append((module, report.nodeid or ".", verdict(outcome, report, [report])))

    def pytest_itemcollected(self, item):
        if self.collecting is None:
            self.module(module_name(item))  # remembers pytest's order of modules

    def hold(self, collector):
        """An empty report in place of a file's collection, during the walk of a lazy session."""
        import pytest

        if (
            not self.holding
            or not isinstance(collector, pytest.File)
            or isinstance(collector, pytest.Package)
        ):
            return None
        if str(collector.path) in self.eager:
            return None
        self.module(module_name(collector)).collectors.append(collector)
        return pytest.CollectReport(collector.nodeid, "passed", None, [])

    @contextlib.contextmanager
    def walk(self, config):
        """Around pytest's own collection."""
        named = [arg.split("::")[0] for arg in config.args if "::" in arg]
        self.eager = {os.path.abspath(path) for path in named}
        self.holding = self.lazy
        if self.lazy:
            hook = TolerantHook(config.hook.pytest_collection_modifyitems, self.notes)
            config.hook.pytest_collection_modifyitems = hook
        yield
        self.holding = False

    def plan_walked(self):
        """Plan what the walk itself has collected: everything, or what could not be held back."""
        broken, self.broken = self.broken, []
        for module, nodeid, result in broken:
            self.order.append(Test(module, nodeid, result=result))
        for item in self.session.items:
            self.order.append(Test(self.module(module_name(item)), item.nodeid, item=item))
        for test in self.order:
            test.module.tests = (test.module.tests or []) + [test]
        self.items = list(self.session.items)

    def module_order(self):
        """Names of the modules that hold something, in pytest's order.

        Items say the order, as hooks may have changed it; a module without items takes the place
        where it was met.
        """
        met = list(self.modules)
        names = list(dict.fromkeys(test.module.name for test in self.order if test.item is not None))
        for name in met:
            module = self.modules[name]
            if name not in names and (module.collectors or module.tests):
                later = set(met[met.index(name) + 1 :])
                place = next((i for i, other in enumerate(names) if other in later), len(names))
                names.insert(place, name)
        return names

    def collect(self, module):
        """Collect one held-back module as pytest would have, hooks included."""
        from _pytest.runner import collect_one_node

        session, config = self.session, self.session.config
        items, self.collecting, began = [], module, time.monotonic()
        with self._in_root(), collection_warnings(config):
            for collector in module.collectors:
                report = collect_one_node(collector)
                if report.passed:
                    for child in report.result:
                        items.extend(session.genitems(child))
                collector.ihook.pytest_collectreport(report=report)
            session.items = items
            config.hook.pytest_collection_modifyitems(session=session, config=config, items=items)
        session.testscollected += len(items)
        self.items.extend(items)
        session.items = self.items
        self.collecting = None
        module.costs.collection = time.monotonic() - began
        broken, self.broken = self.broken, []
        held = [Test(module, nodeid, result=result) for module, nodeid, result in broken]
        module.tests = (module.tests or []) + held + [Test(module, i.nodeid, item=i) for i in items]
        module.collectors = []

    @contextlib.contextmanager
    def _in_root(self):
        """Modules are imported in the folder where pytest started, wherever a test has gone since."""
        try:
            here = os.getcwd()
        except OSError:
            here = None
        os.chdir(self.root)
        yield
        if here is not None and here != self.root and os.path.isdir(here):
            os.chdir(here)

    # assignments

    def announce(self):
        import pytest

        self.plan_walked()
        if not self.lazy:
            part = []
            for test in [*self.order, None]:
                if part and (test is None or test.module is not part[0].module):
                    for page in pages(part):
                        self.channel.queue("listing", part[0].module.name, page)
                    part = []
                part.append(test)
        versions = {"python": "{}.{}.{}".format(*sys.version_info[:3]), "pytest": pytest.__version__}
        for _plugin, distribution in self.session.config.pluginmanager.list_plugin_distinfo():
            versions[distribution.project_name] = distribution.version
        self.channel.queue("opened", self.module_order(), self.command, versions, self.notes)

    def listen(self, block):
        """Take the commands that have come."""
        self.obey(self.channel.read(block))

    def obey(self, commands):
        for name, *values in commands:
            if name == "run":
                self.queue.append(Work(*values))
            elif name == "close":
                self.closing = True
            elif name == "withdraw":
                self.withdraw(*values)

    def withdraw(self, number, tail):
        waiting = [work for work in self.queue if work.number == number and not work.begun]
        if tail:
            self.asked.add(number)
        elif waiting:
            self.queue.remove(waiting[0])
            self.channel.queue("handed", number, [], "unbegun")
        else:
            self.channel.queue("handed", number, [], "kept")
        self.channel.flush()

    def share(self, work, index):
        """Answer who asked for the tail of what runs, before test ``index`` of it starts.

        The second half of what comes after that test is given to another session if that pays: its
        tests must be expected to take ``LEAST_GIVEN`` seconds, and twice what the module's import
        and its shared fixtures took here, as the other session sets them up again. The cut lies
        between two classes where one is near; inside a class its own fixtures count as well.
        Tests of an ``xdist_group`` stay. Nothing is said before some tests have shown what they take.
        """
        if work.number not in self.asked:
            return
        rest = work.tests[index + 1 :]
        if rest and work.ran < SURE_TESTS and work.seconds < SURE_SECONDS:
            return
        self.asked.discard(work.number)
        given = self.tail(work, rest) if rest and work.module else []
        if given:
            gone = {id(test) for test in given}
            work.tests = [test for test in work.tests if id(test) not in gone]
        self.channel.queue("handed", work.number, [test.key for test in given], "tail")
        self.channel.flush()

    def tail(self, work, rest):
        """What of ``rest`` another session is to run; empty if it does not pay."""
        cut, inside = halve(rest)
        given, size = [], 0
        for test in reversed(rest[cut:]):
            size += len(test.key[0])
            if len(given) == GIVEN or size > GIVEN_CHARACTERS:
                break
            if not test.group:
                given.append(test)
        costs = rest[0].module.costs
        again = costs.collection + costs.wide + (costs.classes if inside else 0.0)
        expected = len(given) * work.seconds / max(1, work.ran)
        return given[::-1] if expected >= max(LEAST_GIVEN, 2 * again) else []

    def upcoming(self, block, last=None):
        """The first queued assignment that has a test to run, prepared; None if there is none.

        With ``block`` it waits until there is one or the session is told to close. ``last`` is the
        assignment whose last test waits for that: it has nothing left to give.
        """
        self.listen(False)
        while True:
            while self.queue:
                work = self.queue[0]
                if work.tests is None:
                    self.prepare(work)
                if work.tests:
                    return work
                self.queue.popleft()
                self.finish(work)
            if self.closing or not block:
                return None
            self.listen(True)
            if last is not None:
                self.share(last, len(last.tests) - 1)

    def prepare(self, work):
        """Choose the assignment's tests; collectors that gave none have their verdict at once."""
        module = self.modules.get(work.module)
        if work.module and module is None:
            work.tests = []
            self.channel.queue("handed", work.number, [], "unknown")
            return
        known = self.order
        if module is not None:
            if module.collectors:
                self.channel.queue("collecting", work.number, module.name)
                self.channel.flush()
                self.collect(module)
            known = module.tests or []
        if work.wanted is None:
            tests = self._whole_module(work, known)
        else:
            tests = [test for test in known if test.key in work.wanted]
            unknown = sorted(work.wanted.difference(test.key for test in tests))
            if unknown:
                self.channel.queue("handed", work.number, unknown, "unknown")
            if self.lazy:
                self.tell_collected(work, tests, {})
        for test in tests:
            if test.item is None:
                self.channel.queue("verdict", work.number, test.module.name, test.key, test.result)
        work.tests = [test for test in tests if test.item is not None]

    def _whole_module(self, work, known):
        """All tests of a module but, in a lazy session, those of groups: the master places them."""
        if not self.lazy:
            return known
        groups = {}
        for test in known:
            group = test.group
            if group:
                groups.setdefault(group[:500], []).append(test.key)
        self.tell_collected(work, known, groups)
        held = {key for keys in groups.values() for key in keys}
        return [test for test in known if test.key not in held]

    def tell_collected(self, work, tests, groups):
        parts = list(pages(tests))
        for part in parts:
            last = part is parts[-1]
            self.channel.queue("collected", work.number, work.module, part, groups if last else {}, last)

    def finish(self, work):
        """Its tests have run."""
        self.asked.discard(work.number)
        self.channel.queue("done", work.number)

    # the loop

    def loop(self, session):
        work = self.upcoming(True)
        while work is not None:
            self.queue.popleft()
            work.begun = True
            self.upcoming(False)
            index = -1
            while (index := index + 1) < len(work.tests):
                test, ahead = work.tests[index], None
                self.listen(False)
                self.share(work, index)
                if index + 1 < len(work.tests):
                    following = work.tests[index + 1].item
                else:
                    ahead = self.upcoming(True, work)
                    following = ahead.tests[0].item if ahead else None
                    if ahead:
                        ahead.begun = True
                # An item that runs twice in a row must be torn down in between.
                self.run_test(work, test, None if following is test.item else following)
                if session.shouldfail or session.shouldstop:
                    self.stop_early(session, work, work.tests[index + 1 :])
            self.finish(work)
            work = ahead
        self.channel.flush()

    def run_test(self, work, test, following):
        self.reports, self.running = [], test.module
        costs, began = test.module.costs, time.monotonic()
        shared = costs.wide + costs.classes
        self.channel.queue("started", work.number, test.key)
        self.channel.flush()
        test.item.config.hook.pytest_runtest_protocol(item=test.item, nextitem=following)
        self.channel.check_owner()
        work.ran += 1
        work.seconds += max(0.0, time.monotonic() - began - (costs.wide + costs.classes - shared))
        outcome, decider = judge(self.reports)
        result = verdict(outcome, decider, self.reports)
        self.channel.queue("verdict", work.number, test.module.name, test.key, result)

    def set_up(self, scope, seconds):
        """A fixture was set up for the test that runs."""
        if self.running is not None and scope != "function":
            costs = self.running.costs
            if scope == "class":
                costs.classes += seconds
            else:
                costs.wide += seconds

    def take_report(self, report):
        # A test may report a hundred thousand subtests: those that passed decide nothing.
        if len(self.reports) < 1000 or not report.passed or not is_subtest(report):
            self.reports.append(report)

    def stop_early(self, session, work, rest):
        """The suite told pytest to stop: what plain pytest would not run is ``notrun``."""
        reason = str(session.shouldfail or session.shouldstop)
        for test in rest:
            result = {"outcome": "notrun", "message": one_line("pytest was told to stop: " + reason)}
            self.channel.queue("verdict", work.number, test.module.name, test.key, result)
        self.finish(work)
        self.channel.flush()
        raise session.Failed(reason) if session.shouldfail else session.Interrupted(reason)


# --- pytest's hooks, thin -----------------------------------------------------------------------------


def make_hooks(state):
    """The hooks of one session; defined late, since this file is loaded before pytest is."""
    import pytest

    class Hooks:
        @pytest.hookimpl(tryfirst=True)
        def pytest_load_initial_conftests(self, early_config, parser, args):
            args[:], dropped = neutralise(args)
            state.command = [os.path.basename(sys.executable), "-m", "pytest", *args]
            if dropped:
                state.notes.append("left out inside a runner: " + " ".join(dropped))
                namespace = parser.parse_known_args(args, namespace=copy.copy(early_config.option))
                if namespace.confcutdir is None:
                    namespace.confcutdir = early_config.known_args_namespace.confcutdir
                early_config.known_args_namespace = namespace

        @pytest.hookimpl(hookwrapper=True)
        def pytest_cmdline_main(self, config):
            for name, value in FORCED.items():
                if hasattr(config.option, name):
                    setattr(config.option, name, value)
            yield

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_collection(self, session):
            state.session = session
            with state.walk(session.config):
                yield

        @pytest.hookimpl(tryfirst=True)
        def pytest_make_collect_report(self, collector):
            return state.hold(collector)

        def pytest_itemcollected(self, item):
            state.pytest_itemcollected(item)

        def pytest_collectreport(self, report):
            state.pytest_collectreport(report)

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_fixture_setup(self, fixturedef):
            began = time.monotonic()
            yield
            state.set_up(fixturedef.scope, time.monotonic() - began)

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session):
            if session.config.option.collectonly:
                return None
            state.announce()
            try:
                state.loop(session)
            except BaseException as error:
                state.channel.queue("stopped", one_line(f"{type(error).__name__}: {error}").rstrip(": "))
                state.channel.flush()
                raise
            return True

        def pytest_runtest_logreport(self, report):
            state.take_report(report)

        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(self, session, exitstatus):
            state.channel.queue("ended", int(exitstatus))
            state.channel.flush()

    return Hooks()


def as_module(hooks):
    """A module object with these hooks: what ``-p`` finds under its name in ``sys.modules``."""
    module = types.ModuleType(NAME, __doc__)
    for name in dir(hooks):
        if name.startswith("pytest_"):
            setattr(module, name, getattr(hooks, name))
    return module


def main():
    channel = Channel(int(os.environ.pop("TESTRING_CHANNEL")))
    faulthandler.register(DUMP_SIGNAL, file=high_descriptor(2), all_threads=True, chain=False)
    (_setup, mode), *early = channel.read(block=True)
    root = os.getcwd()
    sys.path[0] = root  # from here on as `python -m pytest` has it
    state = Session(channel, lazy=mode == "lazy")
    state.obey(early)
    sys.modules[NAME] = as_module(make_hooks(state))
    args = sys.argv[1:]
    sys.argv[1:] = ["-p", NAME, *config_options(args, root), "--continue-on-collection-errors", *args]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
