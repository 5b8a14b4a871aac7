"""Uploads on their way in: what an earlier life of the node left is swept, whatever it is."""

from __future__ import annotations

import os
import time

from node.spool import KEEP_SECONDS, Spool


def test_what_a_killed_node_left_half_done_is_swept(tmp_path):
    (tmp_path / "tmp-upload").write_bytes(b"half")
    (tmp_path / "tmp-unpacking" / "project").mkdir(parents=True)
    (tmp_path / "tmp-unpacking" / "project" / "test_a.py").touch()
    (tmp_path / ("a" * 64)).write_bytes(b"whole")
    spool = Spool(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 64]
    assert spool.find("a" * 64)


def test_what_nobody_asked_for_is_dropped_in_time(tmp_path):
    spool = Spool(tmp_path)
    for name in ("old", "young"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}-file").touch()
    long_ago = time.time() - KEEP_SECONDS - 1
    for path in tmp_path.glob("old*"):
        os.utime(path, (long_ago, long_ago))
    spool.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["young", "young-file"]
