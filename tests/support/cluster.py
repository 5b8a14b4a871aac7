"""A cluster of real processes on loopback, for tests that go the whole way over HTTP."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from cli import packing
from cli.children import Child
from cli.client import Client
from cli.embedded import STOP_SECONDS, Embedded
from cli.progress import FINAL_STATES
from tests.support.waiting import until

EVALUATION_SECONDS = 180.0
GONE_SECONDS = 10.0

Key = tuple[str, int]
"""(node id, occurrence)."""


@dataclass(frozen=True)
class Result:
    """One evaluation that has ended.

    Attributes:
        answer: the last ``GET /evaluation/<id>``.
        lines: ``report.jsonl``.
    """

    client: Client
    answer: dict[str, Any]
    lines: list[dict[str, Any]]

    @cached_property
    def outcomes(self) -> dict[Key, str]:
        """Outcome per test; a repeated key is an error of the report."""
        keys = [(line["nodeid"], line["occurrence"]) for line in self.lines]
        assert len(keys) == len(set(keys)), [key for key, count in Counter(keys).items() if count > 1]
        return {key: line["outcome"] for key, line in zip(keys, self.lines, strict=True)}

    @property
    def counts(self) -> dict[str, int]:
        """Verdicts per outcome."""
        return dict(Counter(line["outcome"] for line in self.lines))

    @property
    def workers(self) -> set[str]:
        """Nodes that gave verdicts, as the report names them."""
        return {line["worker"] for line in self.lines}

    @property
    def notes(self) -> str:
        """Everything the server remarked about the run and its projects, as one text."""
        rows = [self.answer, *self.answer["projects"]]
        return "\n".join(
            str(part) for row in rows for part in (row.get("detail"), *(row.get("notes") or [])) if part
        )

    def tests(self, state: str) -> list[dict[str, Any]]:
        """Verdicts of one outcome with output, traceback and attempts."""
        return list(self.client.tests(self.answer["id"], state))


class Cluster:
    """A master, workers and the HTTP service; ``close`` checks that no process is left."""

    def __init__(self, workers: int, *, slots: int = 1, environment: dict[str, str] | None = None) -> None:
        # Not pytest's tmp_path: its folders are 0700, and test runners have uids of their own.
        self.top = Path(tempfile.mkdtemp(prefix="tr-"))
        self.top.chmod(0o711)
        (self.top / "data").mkdir(mode=0o700)
        self._make = lambda: Embedded(
            self.top / "data", workers=workers, slots=slots, run_dir=self.top / "r", environment=environment
        )
        self._seen: dict[int, psutil.Process] = {}
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self.top, ignore_errors=True)
            raise

    def _start(self) -> None:
        self.embedded = self._make()
        self.embedded.start()
        self.client = Client(self.embedded.url)

    @property
    def url(self) -> str:
        return self.embedded.url

    # --- evaluations ------------------------------------------------------------------------

    def submit(self, *trees: Path, **options: Any) -> int:
        """Submit directories (packed as ``testring run`` packs them) or one zip; the evaluation's id."""
        if len(trees) == 1 and trees[0].is_file():
            return int(self.client.submit_archive(trees[0], options)["id"])
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "projects.zip"
            packing.pack(trees, archive)
            return int(self.client.submit_archive(archive, options)["id"])

    def evaluation(self, evaluation: int) -> dict[str, Any]:
        """The present answer of ``GET /evaluation/<id>``."""
        return self.client.evaluation(evaluation)

    def wait(self, evaluation: int, seconds: float = EVALUATION_SECONDS) -> Result:
        """The result, once the evaluation has ended."""

        def ended() -> dict[str, Any] | None:
            dead = self.embedded.dead()
            assert dead is None, f"{dead.name} ended ({dead.how_it_ended()}):\n" + "\n".join(dead.tail)
            answer = self.evaluation(evaluation)
            return answer if answer["state"] in FINAL_STATES else None

        answer = until(ended, seconds, f"evaluation {evaluation} over")
        return Result(self.client, answer, list(self.client.verdicts(evaluation)))

    def run(self, *trees: Path, **options: Any) -> Result:
        """Submit and wait; the run must add up."""
        result = self.wait(self.submit(*trees, **options))
        assert result.answer["tests"]["total"] == len(result.lines), result.answer
        return result

    # --- nodes ------------------------------------------------------------------------------

    def add_worker(self, *, slots: int | None = None) -> Child:
        """One more worker, listed in ``/network`` when this returns."""
        worker = self.embedded.add_worker(slots=slots)
        self.wait_listed(self.address(worker))
        return worker

    def address(self, child: Child) -> str:
        """A node's address, as ``/network`` and ``/stats`` name it."""
        return self.embedded.addresses[child.name]

    def wait_listed(self, address: str, *, listed: bool = True, seconds: float = 15.0) -> None:
        """Until ``/network`` shows the address, or no longer does."""
        what = f"{address} {'in' if listed else 'gone from'} /network"
        until(lambda: (address in self.client.get("/network")) == listed, seconds, what)

    def stop(self, child: Child, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Send a signal to a node and wait for its end; its exit code."""
        self._remember()
        child.send(number)
        assert child.wait(seconds), f"{child.name} still runs {seconds:g} s after signal {number}"
        self.embedded.forget(child)
        return int(child.process.returncode)

    def restart(self) -> None:
        """Kill every process and start the same number again on the same disks."""
        self._remember()
        self.client.close()
        self.embedded.stop(quickly=True)
        self._start()

    # --- the end ----------------------------------------------------------------------------

    def close(self) -> None:
        """Stop everything and check that nothing of it still runs."""
        self._remember()
        self.client.close()
        killed = [name for name in self.embedded.stop() if name != "api"]
        _, left = psutil.wait_procs(list(self._seen.values()), timeout=GONE_SECONDS)
        shown = [_shown(process) for process in left]
        for process in left:
            process.kill()
        shutil.rmtree(self.top, ignore_errors=True)
        assert shown == [], f"processes left behind: {shown}"
        assert killed == [], f"did not stop on SIGTERM: {killed}"

    def processes(self) -> list[psutil.Process]:
        """Everything that runs below this cluster's nodes now."""
        self._remember()
        return [process for process in self._seen.values() if process.is_running()]

    def _remember(self) -> None:
        """Note all descendants while their parents live: orphans cannot be found afterwards."""
        for child in self.embedded.children:
            try:
                process = psutil.Process(child.pid)
                for one in (process, *process.children(recursive=True)):
                    self._seen.setdefault(one.pid, one)
            except psutil.NoSuchProcess:
                continue


Clusters = Callable[..., Cluster]


def _shown(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)
