from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from pathlib import Path

import pytest

from node.environment.interpreter import Interpreters, copy_interpreter
from node.runner.children import Job, Warden
from node.sources.limits import SourceError
from node.treecopy import copy_tree, give_tree, tree_bytes
from node.workspace import MAX_SLOTS, Workspace, folder_name, session_folder
from tests.support.rundirs import is_root, run_directory

needs_root = pytest.mark.skipif(not is_root(), reason="needs root: children get uids of their own")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    root = tmp_path / "built"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg/a.py").write_text("a = 1\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("pkg")
    os.utime(root / "pkg/a.py", (1000, 1000))
    return root


def test_a_copy_shares_nothing(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    os.mkfifo(built / "pipe")
    copy_tree(built, copy)
    assert (copy / "run.sh").stat().st_mode & stat.S_IXUSR
    assert os.readlink(copy / "link") == "pkg"
    assert (copy / "pkg/a.py").stat().st_mtime == 1000, "compiled files stay valid"
    assert (copy / "pkg/a.py").stat().st_ino != (built / "pkg/a.py").stat().st_ino
    assert (copy / "pkg/a.py").stat().st_nlink == 1
    assert not (copy / "pipe").exists()
    assert tree_bytes(copy) > 0


@needs_root
def test_giving_a_tree_drops_set_id_bits(built: Path) -> None:
    (built / "run.sh").chmod(0o6755)
    give_tree(built, 0)
    assert stat.S_IMODE((built / "run.sh").stat().st_mode) == 0o755


def test_sessions_are_apart(site: Workspace, warden: Warden, built: Path) -> None:
    one = site.session_tree(built, "My project/1", 0)
    two = site.session_tree(built, "My project/1", 1)
    assert one.tree.name == two.tree.name == "My_project_1"
    assert one.tree != two.tree
    for dirs in (one, two):
        assert stat.S_IMODE(dirs.top.stat().st_mode) == 0o700
        assert dirs.top.stat().st_uid == (dirs.uid if dirs.uid is not None else os.geteuid())
        site.remove_session(dirs, warden)
        assert not dirs.top.exists()
        assert not dirs.tmp.exists()


@needs_root
def test_uids_do_not_meet(site: Workspace) -> None:
    uids = [site.uid(slot) for slot in range(MAX_SLOTS)]
    assert len({*uids, site.fetch_uid, site.build_uid}) == MAX_SLOTS + 2
    assert min(uid for uid in uids if uid is not None) >= 20_000
    with pytest.raises(ValueError, match="at most"):
        site.uid(MAX_SLOTS)


def test_a_socket_fits_in_the_temporary_folder(built: Path, warden: Warden) -> None:
    with run_directory() as run_dir:
        deep = run_dir / ("long-" * 15)
        site = Workspace(deep, "n1", is_root())
        site.prepare()
        dirs = site.session_tree(built, "p", 0)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(dirs.tmp / ("s" * 50)))
        site.remove_session(dirs, warden)
        assert not dirs.tmp.exists()


def test_whatever_tests_leave_is_removed(
    site: Workspace, warden: Warden, built: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    dirs = site.session_tree(built, "p", 0)
    script = (
        "import os\n"
        "for _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\n"
        f"os.chdir({str(dirs.tree)!r})\n"
        "os.mkdir('locked'); open('locked/f', 'w').close(); os.chmod('locked', 0)\n"
        f"os.mkfifo('pipe'); os.symlink({str(kept)!r}, 'out'); os.symlink('/', 'root')\n"
    )
    job = Job(
        argv=["/usr/bin/python3", "-c", script], cwd=dirs.tree, env={}, uid=dirs.uid, gid=dirs.uid, wall=60
    )
    finished = warden.run(job)
    assert finished.ok, finished
    site.remove_session(dirs, warden)
    assert not dirs.top.exists()
    assert kept.read_text() == "x"


@needs_root
def test_a_fixed_path_in_a_shared_folder_is_free_again(site: Workspace, warden: Warden, built: Path) -> None:
    """Two slots have two uids, and neither could remove what the other has left in /tmp."""
    first, second = (site.session_tree(built, "p", slot) for slot in (0, 1))
    fixed = Path(f"/tmp/tr-test-fixed-{os.getpid()}")
    script = f"import os, socket; os.mkdir({str(fixed)!r}); socket.socket(socket.AF_UNIX).bind('{fixed}/s')"
    for dirs in (first, second):
        job = Job(
            argv=["/usr/bin/python3", "-c", script],
            cwd=dirs.tree,
            env={},
            uid=dirs.uid,
            gid=dirs.uid,
            wall=60,
        )
        assert warden.run(job).ok
        site.remove_session(site.session_tree(built, "p", 2), warden)
        assert fixed.exists(), "another uid's session has removed it"
        site.remove_session(dirs, warden)
        assert not fixed.exists()


def test_left_overs_are_swept_at_start(site: Workspace, built: Path) -> None:
    with run_directory() as run_dir:
        first = Workspace(run_dir, "n2", is_root())
        first.prepare()
        dirs = first.session_tree(built, "p", 0)
        Workspace(run_dir, "n2", is_root()).prepare()
        assert not dirs.top.exists()


def test_a_full_disk_is_one_clear_line(site: Workspace) -> None:
    with pytest.raises(SourceError, match=r"disk is full: .* MiB free at .*TESTRING_RUN_DIR"):
        site.check_space(1 << 60)


@needs_root
def test_a_run_directory_others_cannot_enter_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SourceError, match="which other users may not enter"):
        Workspace(closed / "run", "n1", True).prepare()


def test_folder_names() -> None:
    assert folder_name("a b/c") == "a_b_c"
    assert folder_name("..") == "project"
    assert folder_name("") == "project"
    assert len(folder_name("x" * 300)) == 60


def test_the_default_interpreter_runs_as_the_run_uid(warden: Warden, site: Workspace) -> None:
    found = Interpreters(warden, site).default()
    assert found.version.split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    job = Job(
        argv=[str(found.path), "-c", "import ssl, sqlite3, ctypes"], cwd="/", env={}, uid=site.uid(0), wall=60
    )
    finished = warden.run(job)
    assert finished.ok, finished.output


@needs_root
def test_an_interpreter_in_a_closed_home_is_copied(warden: Warden, site: Workspace, tmp_path: Path) -> None:
    """A copy is made once, keeps the exact version, and brings no installed packages along."""
    own = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    home = tmp_path / "home"
    moved = home / "python"
    shutil.copytree(copy_interpreter(own, site.shared).parent.parent, moved, symlinks=True)
    home.chmod(0o700)
    found = Interpreters(warden, site).usable(moved / "bin" / own.name)
    assert found.path.is_relative_to(site.shared)
    assert found.version == ".".join(str(part) for part in sys.version_info[:3])
    assert found.prefix == found.path.parent.parent
    assert not list((found.prefix / "lib" / own.name / "site-packages").iterdir())
    inode = found.path.stat().st_ino
    assert Interpreters(warden, site).usable(moved / "bin" / own.name).path.stat().st_ino == inode


def test_session_folders_are_of_one_length_and_differ() -> None:
    numbers = (0, 1, 61, 62, 62**2, 62**5 - 1)
    made = {session_folder(slot, number) for slot in range(MAX_SLOTS) for number in numbers}
    assert len(made) == MAX_SLOTS * len(numbers)
    assert {len(name) for name in made} == {6}
