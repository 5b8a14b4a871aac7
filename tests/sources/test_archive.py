from __future__ import annotations

import contextlib
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.sources.archive import ArchiveError, ArchiveLimits, open_archive, subdirectory
from tests.sources.zips import info, link, patch, set_central, write_entries, write_zip

LIMITS = ArchiveLimits(entries=100, total=4 << 20, file=2 << 20)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


def names(trees: list) -> list[str]:
    return [tree.name for tree in trees]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"test_a.py": ""}, [""]),
        ({"pyproject.toml": "", "src/a.py": ""}, [""]),
        ({"requirements-test.txt": "", "x/y.py": ""}, [""]),
        ({"src/a/__init__.py": "", "tests/test_a.py": ""}, [""]),
        ({"repo-main/setup.py": "", "repo-main/tests/test_a.py": ""}, ["repo-main"]),
        ({"repo-main/README": "", "repo-main/tests/test_a.py": ""}, ["repo-main"]),
        ({"a/test_a.py": "", "b/test_b.py": "", "__MACOSX/._a": "", ".hidden/x.py": ""}, ["a", "b"]),
        ({"all/a/test_a.py": "", "all/b/test_b.py": ""}, ["a", "b"]),
        ({"README": ""}, [""]),
        ({"x/notes.txt": ""}, ["x"]),
    ],
)
def test_projects_are_recognised(
    tmp_path: Path, into: Path, entries: dict[str, str | bytes], expected: list[str]
) -> None:
    assert names(open_archive(write_zip(tmp_path / "a.zip", entries), into, LIMITS)) == expected


def test_files_beside_several_projects_are_named_in_a_note(tmp_path: Path, into: Path) -> None:
    trees = open_archive(
        write_zip(tmp_path / "a.zip", {"a/t.py": "", "b/t.py": "", "README": ""}), into, LIMITS
    )
    assert trees[0].notes == ("ignored beside the projects' folders: README",)


def test_modes_and_links(tmp_path: Path, into: Path) -> None:
    entries = [
        (info("run.py", stat.S_IFREG | 0o6755), b"#!/bin/sh"),
        link("a/link", "../run.py"),
        link("a/chain", "link"),
        link("dangling", "not/there"),
        (info("a/b/c.py"), b"x"),
    ]
    open_archive(write_entries(tmp_path / "a.zip", entries), into, LIMITS)
    assert stat.S_IMODE((into / "run.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((into / "a/b/c.py").stat().st_mode) == 0o644
    assert os.readlink(into / "a/link") == "../run.py"
    assert (into / "a/chain").read_bytes() == b"#!/bin/sh"
    assert (into / "dangling").is_symlink()


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "C:/evil",
        "a\\evil",
        "x" * 256,
        "a\nb",
        "d/" * 41 + "f",
        "..",
        "é" * 110,
    ],
)
def test_bad_names_are_refused(tmp_path: Path, into: Path, name: str) -> None:
    bad = write_entries(tmp_path / "a.zip", [(info("ok.py"), b""), (info(name), b"")])
    with pytest.raises(ArchiveError) as caught:
        open_archive(bad, into, LIMITS)
    assert caught.value.entry
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(into.iterdir())


@pytest.mark.parametrize(
    "entries",
    [
        [link("out", "/etc/passwd")],
        [link("out", "../x")],
        [link("a/out", "../../x")],
        [link("a", "b/.."), link("b", "c/../..")],
        [link("loop", "loop")],
        [link("x/l", "../y"), link("y", "x/l")],
        [link("sub", "."), link("far", "sub/../../x")],
        [(info("p", stat.S_IFIFO | 0o644), b"")],
        [(info("d", stat.S_IFCHR | 0o644), b"")],
        [(info("a.py"), b"1"), (info("A.py"), b"2")],
        [(info("e\u0301.py"), b"1"), (info("\u00e9.py"), b"2")],
        [(info("a"), b"1"), (info("a/b"), b"2")],
        [link("a", "b"), (info("a/x.py"), b"2"), (info("b/y.py"), b"")],
        [(info("a/x.py"), b"2"), link("a", "b")],
    ],
)
def test_links_specials_and_duplicates_are_refused(
    tmp_path: Path, into: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]
) -> None:
    with pytest.raises(ArchiveError) as caught:
        open_archive(write_entries(tmp_path / "a.zip", entries), into, LIMITS)
    assert caught.value.entry


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(tmp_path: Path, into: Path) -> None:
    with pytest.raises(ArchiveError, match=r"a\.py"):
        open_archive(
            write_entries(tmp_path / "a.zip", [(info("a.py"), b"1"), (info("a.py"), b"2")]), into, LIMITS
        )


def test_a_name_with_nul_is_refused(tmp_path: Path, into: Path) -> None:
    path = patch(write_zip(tmp_path / "a.zip", {"a.pyXb": ""}), b"a.pyXb", b"a.py\0b")
    with pytest.raises(ArchiveError, match="NUL"):
        open_archive(path, into, LIMITS)


def test_encrypted_and_odd_methods_are_refused(tmp_path: Path, into: Path) -> None:
    path = set_central(write_zip(tmp_path / "a.zip", {"a.py": "x"}), "a.py", 8, "<H", 1)
    with pytest.raises(ArchiveError, match="encrypted"):
        open_archive(path, into, LIMITS)
    path = write_zip(tmp_path / "b.zip", {"a.py": "x"}, method=zipfile.ZIP_BZIP2)
    with pytest.raises(ArchiveError, match="method 12"):
        open_archive(path, into, LIMITS)


@pytest.mark.parametrize("declared", [10, 1_000_000])
def test_lying_sizes_are_refused(tmp_path: Path, into: Path, declared: int) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.py": os.urandom(5000)})
    set_central(path, "a.py", 24, "<I", declared)
    with pytest.raises(ArchiveError, match=r"a\.py"):
        open_archive(path, into, LIMITS)
    assert sum(file.stat().st_size for file in into.rglob("*") if file.is_file()) <= 5000


def test_overlapping_entries_are_refused(tmp_path: Path, into: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.py": "x" * 500, "b.py": "x" * 500}, method=zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("a.py").header_offset
    set_central(path, "b.py", 42, "<I", first)
    with pytest.raises(ArchiveError, match="overlaps"):
        open_archive(path, into, LIMITS)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({f"f{n}.py": "" for n in range(101)}, "more than 100 entries"),
        ({"big.bin": b"\0" * (2 << 20)}, "zip bomb"),
        ({"big.bin": os.urandom((2 << 20) + 1)}, "larger than"),
        ({f"f{n}": os.urandom(1_500_000) for n in range(3)}, "unpacks to more"),
        ({}, "empty"),
        ({".hidden": ""}, "no project"),
    ],
)
def test_limits(tmp_path: Path, into: Path, entries: dict[str, str | bytes], words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        open_archive(write_zip(tmp_path / "a.zip", entries), into, LIMITS)


def test_a_directory_too_large_for_memory_is_refused_unread(tmp_path: Path, into: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"x" * 100 + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, 1 << 30, 0, 0))
    with pytest.raises(ArchiveError, match="directory is larger"):
        open_archive(path, into, LIMITS)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100, b"PK\5\6" + b"\0" * 18])
def test_no_zip(tmp_path: Path, into: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"not a zip|empty"):
        open_archive(path, into, LIMITS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_a_clear_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    whole = write_zip(tmp_path / "good.zip", {"a/test_a.py": "x" * 300, "a/b.txt": "y" * 50}).read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "bad.zip"
    path.write_bytes(bytes(broken[: data.draw(st.integers(1, len(whole)))]))
    into = tmp_path / f"into-{os.urandom(6).hex()}"
    into.mkdir()
    with contextlib.suppress(ArchiveError):
        open_archive(path, into, LIMITS)
    assert sum(file.lstat().st_size for file in into.rglob("*") if not file.is_dir()) <= LIMITS.total


def test_subdirectory(tmp_path: Path, into: Path) -> None:
    entries = [(info("setup.py"), b""), (info("a/b/t.py"), b""), link("far", "a/b"), link("a/up", "../far")]
    (tree,) = open_archive(write_entries(tmp_path / "a.zip", entries), into, LIMITS)
    root = tree.path
    assert subdirectory(root, "") == root
    assert subdirectory(root, "a/b/") == root / "a/b"
    for bad in ("nothing", "../x", "/etc", "a/b/t.py"):
        with pytest.raises(ArchiveError):
            subdirectory(root, bad)
    with pytest.raises(ArchiveError, match="leaves the project"):
        subdirectory(root, "a")
