"""Drives real runners: opens sessions, deals modules to them, gathers what they say."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event

from node.runner.children import Warden
from node.runner.supervisor import RunnerSpec, Supervisor
from proto.messages import (
    AssignmentId,
    Collected,
    Done,
    Listing,
    Options,
    Run,
    SessionEnded,
    SessionOpened,
    TestId,
    Verdict,
    Verdicts,
)
from tests.runner.reference_recorder import outcomes

HERE = Path(__file__).parent
DEADLINE = 60.0
_numbers = itertools.count(1)


@dataclass
class Session:
    """One open session and everything it has said."""

    id: AssignmentId
    supervisor: Supervisor
    said: list[Any] = field(default_factory=list)
    news: Event = field(default_factory=Event)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.said if isinstance(message, kind)]

    def wait(self, holds: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
        """Block until ``holds()``; fails with everything said so far."""
        with gevent.Timeout(seconds, False):
            while not holds():
                self.news.clear()
                self.news.wait()
            return
        raise AssertionError(f"no {what} within {seconds} s; said: {self.said[-5:]}")

    def opened(self) -> SessionOpened:
        self.wait(lambda: self.of(SessionOpened) or self.of(SessionEnded), "SessionOpened")
        assert self.of(SessionOpened), self.of(SessionEnded)
        return self.of(SessionOpened)[0]

    def run(self, module: str, select: Iterable[TestId] = ()) -> AssignmentId:
        assignment = AssignmentId(1, "m", next(_numbers))
        self.supervisor.run(Run(assignment=assignment, session=self.id, module=module, select=tuple(select)))
        return assignment

    def close(self) -> None:
        self.supervisor.end(self.id)

    def ended(self, seconds: float = DEADLINE) -> SessionEnded:
        self.wait(lambda: self.of(SessionEnded), "SessionEnded", seconds)
        return self.of(SessionEnded)[0]

    def done(self, assignment: AssignmentId) -> None:
        self.wait(lambda: any(d.assignment == assignment for d in self.of(Done)), f"Done {assignment}")

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for message in self.of(Verdicts) for verdict in message.verdicts]

    def outcomes(self) -> dict[tuple[str, int], str]:
        found = {(v.test.nodeid, v.test.occurrence): v.outcome for v in self.verdicts}
        assert len(found) == len(self.verdicts), "a test has two verdicts"
        return found

    def planned(self) -> list[tuple[str, int]]:
        messages = self.of(Collected) + self.of(Listing)
        return [(test.nodeid, test.occurrence) for message in messages for test in message.tests]


class Runners:
    """A supervisor with its sessions."""

    def __init__(self, warden: Warden, homes: Path) -> None:
        self.homes = homes
        self.sessions: dict[AssignmentId, Session] = {}
        self.supervisor = Supervisor(warden, self._post)

    def _post(self, session: AssignmentId, messages: Sequence[Any]) -> None:
        self.sessions[session].said += messages
        self.sessions[session].news.set()

    def open(
        self, tree: Path, *args: str, mode: str = "lazy", python: Path | None = None, **extra: Any
    ) -> Session:
        number = next(_numbers)
        session = Session(AssignmentId(1, "s", number), self.supervisor)
        self.sessions[session.id] = session
        extra.setdefault("options", Options(pytest_args=args))
        extra.setdefault("home", self.homes / str(number))
        self.supervisor.open(
            RunnerSpec(
                session=session.id,
                mode=mode,  # type: ignore[arg-type]
                tree=tree,
                python=python or Path(sys.executable),
                worker="w1",
                **extra,
            )
        )
        return session

    def lazy(self, tree: Path, *args: str, split: int = 1, **extra: Any) -> dict[tuple[str, int], str]:
        """Outcomes of a suite whose modules are dealt in turn to ``split`` lazy sessions."""
        sessions = [self.open(tree, *args, **extra) for _ in range(split)]
        modules = sessions[0].opened().modules
        for number, module in enumerate(modules):
            sessions[number % split].run(module)
        for session in sessions:
            session.close()
        return self._gather(sessions)

    def whole(self, tree: Path, *args: str, **extra: Any) -> dict[tuple[str, int], str]:
        """Outcomes of one session that collects everything and runs it in serial order."""
        session = self.open(tree, *args, mode="whole", **extra)
        session.opened()
        tests = [test for listing in session.of(Listing) for test in listing.tests]
        if tests:
            session.run("", tests)
        session.close()
        return self._gather([session])

    def _gather(self, sessions: list[Session]) -> dict[tuple[str, int], str]:
        found: dict[tuple[str, int], str] = {}
        for session in sessions:
            ended = session.ended()
            assert ended.how == "closed", ended
            outcomes_here = session.outcomes()
            assert sorted(session.planned()) == sorted(outcomes_here), "planned is not what ran"
            assert not found.keys() & outcomes_here.keys()
            found |= outcomes_here
        return found


def reference(
    tree: Path, *args: str, python: Path | None = None, scratch: Path
) -> dict[tuple[str, int], str]:
    """Outcomes of ``python -m pytest --continue-on-collection-errors ARGS`` in ``tree``."""
    out = scratch / f"reference-{next(_numbers)}.json"
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(HERE),
        "REFERENCE_OUT": str(out),
    }
    command = [str(python or sys.executable), "-m", "pytest", "-p", "reference_recorder"]
    done = subprocess.run(
        [*command, "--continue-on-collection-errors", *args],
        cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=600, check=False,
    )  # fmt: skip
    assert out.exists(), done.stdout + done.stderr
    return outcomes(json.loads(out.read_text()))
