"""Uploads that wait for their submission: the same bytes twice at once, what nobody asked for."""

from __future__ import annotations

import itertools
import os
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from node.core import events as ev
from node.intake import Intake, Refused
from node.packages import PackageCache
from node.sources import archive
from node.sources.packing import file_sha256
from node.spool import KEEP_SECONDS, Spool
from proto.messages import Options, SubmitArchive


def stored(spool: Spool, data: bytes) -> str:
    """What a stream connection does with an upload."""
    temporary = spool.temporary()
    temporary.write_bytes(data)
    sha256 = file_sha256(temporary)
    spool.adopt(temporary, sha256)
    return sha256


def test_the_same_bytes_stay_until_both_submissions_are_answered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    sha256 = stored(spool, b"x")
    assert stored(spool, b"x") == sha256
    spool.drop(sha256)
    assert spool.find(sha256) is not None
    spool.drop(sha256)
    assert spool.find(sha256) is None
    spool.drop(sha256)
    assert spool.find(stored(spool, b"x")) is not None


def test_a_file_of_an_earlier_life_is_one_upload(tmp_path: Path) -> None:
    sha256 = stored(Spool(tmp_path / "spool"), b"x")
    again = Spool(tmp_path / "spool")
    assert again.find(sha256) is not None
    again.drop(sha256)
    assert again.find(sha256) is None


def test_what_nobody_asked_for_is_swept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    old, new = stored(spool, b"old"), stored(spool, b"new")
    scratch = spool.directory / "tmp-unpacking"
    scratch.mkdir()
    (scratch / "file").touch()
    past = time.time() - KEEP_SECONDS - 1
    for path in (spool.directory / old, scratch):
        os.utime(path, (past, past))
    spool.sweep()
    assert [path.name for path in spool.directory.iterdir()] == [new]
    stored(spool, b"old")
    spool.drop(old)
    assert spool.find(old) is None, "a swept upload is not counted any more"


def test_folders_left_by_a_node_that_died_do_not_stop_the_next_start(tmp_path: Path) -> None:
    scratch = tmp_path / "spool" / "tmp-abc" / "tree"
    scratch.mkdir(parents=True)
    Spool(tmp_path / "spool")
    assert not scratch.parent.exists()


def test_two_submissions_of_one_archive_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is answered while the second still reads the file."""
    spool = Spool(tmp_path / "spool")
    posted: list[Any] = []
    settings = SimpleNamespace(max_unpacked=1 << 30, git_hosts=())
    intake = Intake(
        cast(Any, settings),
        posted.append,
        PackageCache(tmp_path / "p", 1 << 30),
        spool,
        cast(Any, None),
        lambda packages: frozenset(),
        lambda token: None,
    )
    path = tmp_path / "project.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("project/test_a.py", "def test_a(): pass\n")
    sha256 = ""
    for _ in range(2):
        sha256 = stored(spool, path.read_bytes())
    opened = archive.open_archive
    numbers = itertools.count()
    answered = threading.Event()

    def slow_the_second_time(*args: Any) -> Any:
        if next(numbers) == 1:
            assert answered.wait(10), "the first is not held up by the second"
        return opened(*args)

    monkeypatch.setattr(archive, "open_archive", slow_the_second_time)

    def submit(ticket: int) -> None:
        intake.archive(
            ticket, SubmitArchive(request=f"r{ticket}", sha256=sha256, options=Options(), filename="p.zip")
        )
        answered.set()

    gevent.joinall([gevent.spawn(submit, 1), gevent.spawn(submit, 2)], timeout=30, raise_error=True)
    assert sorted(event.ticket for event in posted if isinstance(event, ev.Submitted)) == [1, 2]
    assert spool.find(sha256) is None
    with pytest.raises(Refused, match="upload it again"):
        submit(3)
