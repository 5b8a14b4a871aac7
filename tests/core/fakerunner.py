"""Suites of known outcome, and a runner that behaves as the injected plugin does, in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from proto import messages as m
from proto.messages import AnyMessage, AssignmentId, TestId

BEHAVIOURS = ("pass", "fail", "skip", "error", "xfail", "split", "strange", "die", "die once", "hang")


@dataclass(frozen=True)
class FakeTest:
    """One test. ``split`` fails unless the whole suite was collected; ``die`` kills its runner;
    ``strange``: of the sessions that collect its module alone, only the first finds it."""

    __test__ = False

    id: TestId
    does: str = "pass"
    group: str = ""


@dataclass(frozen=True)
class FakeModule:
    """``collects``: ``""`` (well), ``error``, ``skip``, ``die``, ``die once``, ``imports``
    (collected alone it lacks its last test) or ``dear`` (its fixtures: no tail is given)."""

    name: str
    tests: tuple[FakeTest, ...]
    collects: str = ""

    def found(self, mode: str) -> tuple[FakeTest, ...]:
        """The tests a collection finds; a collector that failed is a test of the module's name."""
        if self.collects in ("error", "skip"):
            return (FakeTest(TestId(self.name), self.collects),)
        if self.collects == "imports" and mode == "lazy":
            return self.tests[:-1]
        return self.tests


@dataclass(frozen=True)
class FakeSuite:
    """A project. ``start``: ``""`` (well), ``unbuildable``, ``unusable`` or ``died``."""

    modules: tuple[FakeModule, ...]
    start: str = ""

    def expected(self) -> dict[tuple[str, TestId], str]:
        """(module, test) -> the outcome that serial pytest gives."""
        said = {
            "pass": "passed", "fail": "failed", "skip": "skipped", "error": "error", "xfail": "xfailed",
            "split": "passed", "strange": "passed", "die": "crashed", "die once": "passed", "hang": "timeout",
        }  # fmt: skip
        outcomes: dict[tuple[str, TestId], str] = {}
        for module in self.modules:
            if module.collects == "die":
                outcomes[module.name, TestId(module.name)] = "crashed"
                continue
            for test in module.found("whole"):
                outcomes[module.name, test.id] = said[test.does]
        return outcomes


def suite(text: str) -> FakeSuite:
    """A suite from ``"a: pass fail@group | b(error): pass"``: modules with their tests in order."""
    modules = []
    for part in text.split("|"):
        head, _, body = part.partition(":")
        name, _, collects = head.strip().rstrip(")").partition("(")
        name = f"test_{name}.py"
        tests = []
        for index, word in enumerate(body.split()):
            does, _, group = word.partition("@")
            tests.append(FakeTest(TestId(f"{name}::test_{index}"), does.replace("_", " "), group))
        modules.append(FakeModule(name, tuple(tests), collects.replace("_", " ")))
    return FakeSuite(tuple(modules))


@dataclass
class Work:
    """One assignment inside the runner; ``tests`` is None until it was prepared."""

    run: m.Run
    tests: list[tuple[str, FakeTest]] | None = None
    begun: bool = False


@dataclass
class FakeRunner:
    """One session. ``life`` yields seconds to wait, or None to wait for a command.

    Args:
        say: posts messages of this session to its node.
        once: remembers, across runners, what "once" has already happened.
        first: and which session was the first to collect a module alone.
    """

    suite: FakeSuite
    open: m.OpenSession
    say: Callable[[tuple[AnyMessage, ...]], None]
    once: set[object]
    first: dict[object, AssignmentId]
    pace: Callable[[], float]
    ran: list[tuple[str, TestId]]
    batch: int = 1
    verdicts: list[m.Verdict] = field(default_factory=list)
    """Not sent yet."""
    owner: AssignmentId | None = None
    """The assignment they belong to."""
    inbox: deque[m.Run | tuple[AssignmentId, bool] | None] = field(default_factory=deque)
    """Commands not read yet: a run, an assignment to withdraw (whole or its tail), None for "close"."""
    queue: deque[Work] = field(default_factory=deque)
    closing: bool = False
    ended: bool = False
    waiting: bool = False
    """It stands still until a command comes."""
    collected: set[str] = field(default_factory=set)
    asked: list[AssignmentId] = field(default_factory=list)
    """Whose tails were asked for, without an answer yet."""
    current: tuple[Work, int] | None = None
    """What runs, and the place of its present test."""
    running: TestId | None = None
    """The test that has started and has no outcome."""

    def life(self) -> Iterator[float | None]:
        """The whole session, from start to end."""
        yield self.pace()
        if self.suite.start:
            yield from self._end(self.suite.start, "it cannot start")
            return
        if self.open.mode == "whole":
            for module in self.suite.modules:
                if self._dies_collecting(module):
                    yield from self._end("died", "killed by SIGSEGV", collecting=module.name)
                    return
                tests = tuple(test.id for test in module.found("whole"))
                for start in range(0, len(tests), 2000):
                    page = tests[start : start + 2000]
                    self._tell(m.Listing(session=self.open.session, module=module.name, tests=page))
        names = tuple(module.name for module in self.suite.modules)
        self._tell(m.SessionOpened(session=self.open.session, modules=names))
        yield from self._loop()
        if not self.ended:
            yield from self._end("closed", "")

    def _loop(self) -> Iterator[float | None]:
        work = yield from self._upcoming(block=True)
        while work is not None and not self.ended:
            self.queue.popleft()
            work.begun = True
            yield from self._upcoming(block=False)
            ahead = None
            tests = work.tests or []
            index = -1
            while (index := index + 1) < len(tests):
                if self.ended:
                    return
                self.current = (work, index)
                self._listen()
                module, test = tests[index]
                if index + 1 == len(tests):
                    ahead = yield from self._upcoming(block=True)
                    if ahead is not None:
                        ahead.begun = True
                yield from self._run(work, module, test)
            if self.ended:
                return
            self.current = None
            self._tell(m.Done(assignment=work.run.assignment))
            work = ahead

    def _run(self, work: Work, module: str, test: FakeTest) -> Iterator[float | None]:
        if self.ended:
            return
        assignment = work.run.assignment
        if self.batch == 1 or not self.verdicts:
            self.running = test.id
            self._tell(m.Started(assignment=assignment, test=test.id))
            yield self.pace()
            self.running = None
        self.ran.append((module, test.id))
        first = ("test", self.open.evaluation, self.open.project, test.id) not in self.once
        if test.does == "die" or (test.does == "die once" and first):
            self.once.add(("test", self.open.evaluation, self.open.project, test.id))
            yield from self._end("died", "killed by SIGSEGV", assignment, test.id)
            return
        lazy = self.open.mode == "lazy"
        outcome: m.Outcome = {
            "pass": "passed", "fail": "failed", "skip": "skipped", "error": "error", "xfail": "xfailed",
            "split": "failed" if lazy else "passed", "strange": "passed",
            "die once": "passed", "hang": "timeout",
        }[test.does]  # type: ignore[assignment]  # fmt: skip
        self._verdict(assignment, module, test.id, outcome)
        if test.does == "hang":
            yield from self._end("timeout", "time limit of 60 s", assignment)

    def _listen(self) -> None:
        """Read the commands that have come; as the plugin, between tests only."""
        while self.inbox:
            command = self.inbox.popleft()
            if command is None:
                self.closing = True
            elif isinstance(command, m.Run):
                self.queue.append(Work(command))
            else:
                self._withdraw(*command)
        self._share()

    def _withdraw(self, assignment: AssignmentId, tail: bool) -> None:
        waiting = [w for w in self.queue if w.run.assignment == assignment and not w.begun]
        if tail:
            self.asked.append(assignment)
        elif waiting:
            self.queue.remove(waiting[0])
            self._tell(m.HandedBack(assignment=assignment))
        else:
            self._tell(m.HandedBack(assignment=assignment, why="kept"))

    def _share(self) -> None:
        """Answer who asked for the tail of what runs: the second half of what is not promised yet."""
        if self.current is None or self.current[0].run.assignment not in self.asked:
            return
        work, index = self.current
        tests = work.tests or []
        rest = [(module, test) for module, test in tests[index + 1 :] if not test.group]
        kinds = {module.name: module.collects for module in self.suite.modules}
        kinds = {module.name: module.collects for module in self.suite.modules}
        dear = kinds[work.run.module] == "dear"
        given = [] if dear else rest[len(rest) // 2 :]
        self.asked.remove(work.run.assignment)
        tests[:] = [entry for entry in tests if entry not in given]
        self._tell(
            m.HandedBack(assignment=work.run.assignment, tests=tuple(t.id for _, t in given), why="tail")
        )

    def _upcoming(self, block: bool) -> Generator[float | None, None, Work | None]:
        self._listen()
        while True:
            while self.queue and not self.ended:
                work = self.queue[0]
                if work.tests is None:
                    yield from self._prepare(work)
                    if self.ended:
                        return None
                if work.tests:
                    return work
                self.queue.popleft()
                self._tell(m.Done(assignment=work.run.assignment))
            if self.closing or self.ended or not block:
                return None
            self._flush()
            if not self.inbox:
                self.waiting = True
                yield None
            self._listen()

    def _prepare(self, work: Work) -> Iterator[float | None]:
        run = work.run
        modules = {module.name: module for module in self.suite.modules}
        if run.module and run.module not in modules:
            self._tell(m.HandedBack(assignment=run.assignment, why="unknown"))
            work.tests = []
            return
        chosen = [modules[run.module]] if run.module else list(self.suite.modules)
        if run.module and self.open.mode == "lazy" and run.module not in self.collected:
            yield self.pace()
            if self._dies_collecting(modules[run.module]):
                yield from self._end("died", "killed by SIGSEGV", run.assignment, collecting=run.module)
                return
            self.collected.add(run.module)
        known = [(module.name, test) for module in chosen for test in self._found(module)]
        if run.select:
            tests = [(name, test) for name, test in known if test.id in set(run.select)]
            unknown = set(run.select) - {test.id for _, test in tests}
            if unknown:
                ids = tuple(sorted(unknown))
                self._tell(m.HandedBack(assignment=run.assignment, tests=ids, why="unknown"))
            if self.open.mode == "lazy":
                ids = tuple(test.id for _, test in tests)
                self._tell(m.Collected(assignment=run.assignment, module=run.module, tests=ids))
        else:
            tests = self._announce(run, known)
        for name, test in tests:
            if test.id.nodeid == name:
                self._verdict(run.assignment, name, test.id, "error" if test.does == "error" else "skipped")
        work.tests = [(name, test) for name, test in tests if test.id.nodeid != name]

    def _found(self, module: FakeModule) -> Iterator[FakeTest]:
        """Its tests as this session finds them."""
        first: dict[object, AssignmentId] = self.first
        key = (self.open.evaluation, self.open.project, module.name)
        lazy = self.open.mode == "lazy"
        stranger = lazy and first.setdefault(key, self.open.session) != self.open.session
        return (test for test in module.found(self.open.mode) if not (stranger and test.does == "strange"))

    def _announce(self, run: m.Run, known: list[tuple[str, FakeTest]]) -> list[tuple[str, FakeTest]]:
        if self.open.mode == "whole":
            return known
        groups: dict[str, tuple[TestId, ...]] = {}
        for _, test in known:
            if test.group:
                groups[test.group] = (*groups.get(test.group, ()), test.id)
        ids = [test.id for _, test in known]
        parts = [tuple(ids[start : start + 2000]) for start in range(0, len(ids), 2000)] or [()]
        for index, part in enumerate(parts):
            last = index + 1 == len(parts)
            self._tell(
                m.Collected(
                    assignment=run.assignment, module=run.module, tests=part, last=last,
                    groups=groups if last else {},
                )
            )  # fmt: skip
        return [(name, test) for name, test in known if not test.group]

    def _dies_collecting(self, module: FakeModule) -> bool:
        key = ("module", self.open.evaluation, self.open.project, module.name)
        dies = module.collects == "die" or (module.collects == "die once" and key not in self.once)
        self.once.add(key)
        return dies

    def _verdict(self, assignment: AssignmentId, module: str, test: TestId, outcome: m.Outcome) -> None:
        verdict = m.Verdict(test=test, outcome=outcome, module=module, seconds=0.1)
        self.verdicts.append(verdict)
        self.owner = assignment
        if len(self.verdicts) >= self.batch:
            self._flush()

    def _flush(self) -> None:
        if self.verdicts and self.owner is not None:
            verdicts, self.verdicts = tuple(self.verdicts), []
            self.say((m.Verdicts(assignment=self.owner, first=0, verdicts=verdicts),))

    def _end(
        self,
        how: str,
        message: str,
        assignment: AssignmentId | None = None,
        suspect: TestId | None = None,
        collecting: str = "",
    ) -> Iterator[float | None]:
        self.ended = True
        yield self.pace()
        self._tell(
            m.SessionEnded(
                session=self.open.session, how=how, message=message, assignment=assignment,  # type: ignore[arg-type]
                suspect=suspect, collecting=collecting,
            )
        )  # fmt: skip

    def _tell(self, message: AnyMessage) -> None:
        self._flush()
        self.say((message,))
