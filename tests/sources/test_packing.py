from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from node.packages import PackageCache
from node.sources.limits import ArchiveError, ArchiveLimits
from node.sources.packing import file_sha256, pack, unpack


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "b/empty").mkdir(parents=True)
    (root / "a.py").write_text("a")
    (root / "b/run.sh").write_text("#!/bin/sh\n")
    (root / "b/run.sh").chmod(0o4755)
    (root / "zeros.bin").write_bytes(b"\0" * (3 << 20))
    (root / "link").symlink_to("b/run.sh")
    (root / "folder").symlink_to("b")
    os.utime(root / "a.py", (0, 0))
    return root


def test_a_package_depends_on_nothing_but_the_tree(tmp_path: Path, tree: Path) -> None:
    first = pack(tree, tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    os.utime(copy / "a.py", (1e9, 1e9))
    second = pack(copy, tmp_path)
    assert first.sha256 == second.sha256 == file_sha256(first.path)
    assert first.size == first.path.stat().st_size
    (copy / "a.py").chmod(0o755)
    assert pack(copy, tmp_path).sha256 != first.sha256


def test_a_package_gives_the_tree_back(tmp_path: Path, tree: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    unpack(pack(tree, tmp_path).path, into, ArchiveLimits())
    assert (into / "a.py").read_text() == "a"
    assert stat.S_IMODE((into / "b/run.sh").stat().st_mode) == 0o755
    assert os.readlink(into / "link") == "b/run.sh"
    assert os.readlink(into / "folder") == "b"
    assert (into / "b/empty").is_dir()
    assert (into / "zeros.bin").stat().st_size == 3 << 20
    again = pack(into, tmp_path)
    assert again.sha256 == pack(tree, tmp_path).sha256


def test_an_empty_tree_travels(tmp_path: Path) -> None:
    for name in ("tree", "into"):
        (tmp_path / name).mkdir()
    assert unpack(pack(tmp_path / "tree", tmp_path).path, tmp_path / "into", ArchiveLimits()) == 0


def test_what_cannot_travel_is_named(tmp_path: Path, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(ArchiveError, match="pipe"):
        pack(tree, tmp_path)
    (tree / "pipe").unlink()
    (tree / os.fsdecode(b"bad\xff")).write_text("")
    with pytest.raises(ArchiveError, match="UTF-8"):
        pack(tree, tmp_path)
    assert not list(tmp_path.glob("tmp-*"))


def add(cache: PackageCache, sha256: str, size: int, at: float) -> None:
    temporary = cache.directory / "tmp-x"
    temporary.write_bytes(b"x" * size)
    os.utime(cache.add(temporary, sha256), (at, at))


def test_the_cache_drops_the_least_recently_used_but_never_what_is_pinned(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "packages", 250)
    one, two, three, four = (letter * 64 for letter in "abcd")
    add(cache, one, 100, 1)
    add(cache, two, 100, 2)
    cache.pin(one)
    add(cache, three, 100, 3)
    assert cache.has(one)
    assert not cache.has(two)
    assert cache.find(two) is None
    cache.unpin(one)
    add(cache, four, 100, 4)
    assert not cache.has(one)
    assert cache.bytes() == 200
    with cache.pinned(three) as path:
        add(cache, two, 240, 5)
        assert path.is_file()
    assert not path.is_file()
    assert cache.has(two), "the newest stays even if it alone is too large"


def test_the_cache_takes_only_hashes(tmp_path: Path) -> None:
    cache = PackageCache(tmp_path / "packages", 10)
    for name in ("../x", "", "A" * 64):
        with pytest.raises(ValueError):
            cache.path(name)
