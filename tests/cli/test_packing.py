"""What goes into the archive of a directory."""

from __future__ import annotations

import os
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.packing import pack


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name in ("a.py", "pkg/b.py", "__pycache__/a.pyc", ".venv/lib/x.py", "env/pyvenv.cfg", ".git/config"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def packed(*roots: Path, to: Path) -> dict[str, zipfile.ZipInfo]:
    pack(roots, to / "made.zip")
    with zipfile.ZipFile(to / "made.zip") as archive:
        assert archive.testzip() is None
        return {entry.filename: entry for entry in archive.infolist()}


def test_caches_environments_and_version_control_stay_out(root, tmp_path):
    assert sorted(packed(root, to=tmp_path)) == ["project/a.py", "project/pkg/b.py"]


def test_in_a_git_tree_what_git_would_track(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    (root / ".gitignore").write_text("*.log\n")
    for name in ("tracked.py", "new.py", "noise.log", "gone.py"):
        (root / name).write_text(name)
    git = ["git", "-C", str(root), "-c", "init.defaultBranch=main"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "tracked.py", "gone.py"], check=True)
    (root / "gone.py").unlink()
    assert sorted(packed(root, to=tmp_path)) == ["project/.gitignore", "project/new.py", "project/tracked.py"]


def test_links_inside_are_kept_as_links(root, tmp_path):
    (root / "link.py").symlink_to("pkg/b.py")
    (root / "folder").symlink_to("pkg")
    entries = packed(root, to=tmp_path)
    assert stat.S_ISLNK(entries["project/link.py"].external_attr >> 16)
    assert stat.S_ISLNK(entries["project/folder"].external_attr >> 16)
    assert "project/folder/b.py" not in entries


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "pkg/../../outside"])
def test_a_link_that_leaves_the_tree_is_named(root, tmp_path, target):
    (root / "leak").symlink_to(target)
    with pytest.raises(CommandError, match="leak is a link to"):
        pack([root], tmp_path / "made.zip")


def test_old_times_and_the_execute_bit(root, tmp_path):
    os.utime(root / "a.py", (0, 0))
    (root / "a.py").chmod(0o755)
    entry = packed(root, to=tmp_path)["project/a.py"]
    assert entry.date_time[0] == 1980
    assert (entry.external_attr >> 16) & 0o100


def test_two_directories_of_one_name_get_a_folder_each(root, tmp_path):
    other = tmp_path / "other" / "project"
    other.mkdir(parents=True)
    (other / "z.py").write_text("")
    assert {name.split("/")[0] for name in packed(root, other, to=tmp_path)} == {"project", "project-2"}


def test_an_empty_directory_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match="nothing to pack"):
        pack([tmp_path / "empty"], tmp_path / "made.zip")
