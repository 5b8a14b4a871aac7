from __future__ import annotations

import logging
import os
import shutil
import ssl
import stat
import subprocess
from pathlib import Path

import gevent
import pytest

from node.runner.children import Warden
from node.sources.git import Cloner
from node.sources.giturl import GitError, check_ref, check_url, origin, project_name
from node.sources.limits import ArchiveError, ArchiveLimits
from node.workspace import Workspace
from tests.support.gitserver import GitServer, git

TOKEN = "ghp_s3cr3tTOKENvalue0123456789"
HOSTS = ("https://github.com", "https://git.example.org:8443", "http://127.0.0.1:9000", "http://example.org")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("https://GitHub.com:443/a/b.git/", "https://github.com/a/b.git"),
        ("https://git.example.org:8443/g/sub/b", "https://git.example.org:8443/g/sub/b"),
        ("http://127.0.0.1:9000/a/b", "http://127.0.0.1:9000/a/b"),
    ],
)
def test_good_urls(url: str, plain: str) -> None:
    assert check_url(url, HOSTS) == plain
    assert project_name(plain) == "b"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "a/b",
            "/etc",
            "file:///etc",
            "ext::sh -c id",
            "fd::17/x",
            "git@github.com:a/b",
            "git://github.com/a/b",
        ),
        *(
            "ssh://-oProxyCommand=x/a/b",
            "-uhttps://github.com/a/b",
            "--upload-pack=x",
            "http://github.com/a/b",
        ),
        *("https://u:p@github.com/a/b", "https://github.com@evil.org/a/b", "https://github.com/a/b?x=1"),
        *(
            "https://github.com/a/b#x",
            "https://github.com/a",
            "https://github.com/a/../b",
            "https://github.com/a/-b",
        ),
        *("https://github.com/a/b\n", "https://github.com/a/b c", "https://github.com.evil.org/a/b"),
        *("https://github.com:444/a/b", "http://example.org/a/b", "https://github.com\\@evil.org/a/b"),
        *(
            "https://[::1/a/b",
            "https://github.com/a//b",
            "https://github.com/a/%2e%2e",
            "https://gıthub.com/a/b",
        ),
    ],
)
def test_bad_urls(url: str) -> None:
    with pytest.raises(GitError) as caught:
        check_url(url, HOSTS)
    assert "\n" not in str(caught.value)
    assert "u:p" not in str(caught.value)


def test_refs_and_origins() -> None:
    for good in ("main", "v1.0", "feature/x-1", "a" * 40):
        assert check_ref(good) == good
    for bad in ("-x", "--upload-pack=x", "a b", "a:b", "+a", "a..b", "a@{1}", "a\n", "a~1", "", "*"):
        with pytest.raises(GitError):
            check_ref(bad)
    assert origin("https://Example.org:443/a/b") == "https://example.org"


def test_the_default_branch_is_cloned_shallowly(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    server.repository("o/r", {"old.py": "1"})
    url = server.repository(
        "o/r",
        {
            "test_a.py": "2",
            "bin/run*": "#!/bin/sh",
            "link": "link:bin/run",
            ".gitmodules": '[submodule "s"]\n\tpath = s\n\turl = https://github.com/a/b\n',
            "big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        },
    )
    fetched = cloner.clone(url, tmp_path)
    assert fetched.path == tmp_path / "r"
    assert fetched.commit == server.commit("o/r")
    assert sorted(path.name for path in fetched.path.iterdir()) == sorted(
        [".gitmodules", "big.bin", "bin", "link", "old.py", "test_a.py"]
    )
    assert (fetched.path / "bin/run").stat().st_mode & stat.S_IXUSR
    assert os.readlink(fetched.path / "link") == "bin/run"
    assert "submodules are not fetched" in fetched.notes[0]
    assert "big.bin" in fetched.notes[1]
    assert not list(cloner.scratch.iterdir())


def test_branches_tags_and_commits(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    url = server.repository("o/r", {"a.py": "first"})
    first = server.commit("o/r")
    work = str(server.root / "work/o/r")
    git("-C", work, "tag", "v1")
    git("-C", work, "checkout", "-q", "-b", "side/branch")
    server.repository("o/r", {"a.py": "side"})
    git("-C", work, "checkout", "-q", "main")
    server.repository("o/r", {"a.py": "last"})
    for number, (ref, content) in enumerate(
        [("v1", "first"), (first, "first"), ("side/branch", "side"), ("main", "last"), ("", "last")]
    ):
        into = tmp_path / str(number)
        into.mkdir()
        assert (cloner.clone(url, into, ref=ref).path / "a.py").read_text() == content
    with pytest.raises(GitError, match="no branch, tag or commit nothing"):
        cloner.clone(url, tmp_path, ref="nothing")
    with pytest.raises(GitError, match="no branch, tag or commit 0000"):
        cloner.clone(url, tmp_path, ref="0" * 40)


def test_a_private_repository_needs_its_token(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    url = server.repository("o/private", {"a.py": "x"}, token=TOKEN)
    with pytest.raises(GitError, match="not found, or private; a private repository needs auth_token"):
        cloner.clone(url, tmp_path)
    with pytest.raises(GitError, match="the token does not open it") as caught:
        cloner.clone(url, tmp_path, token="wrong-token-value")
    assert "wrong-token-value" not in str(caught.value) + caught.value.log
    assert (cloner.clone(url, tmp_path, token=TOKEN).path / "a.py").exists()
    with pytest.raises(GitError, match="not found"):
        cloner.clone(f"{server.url}/o/missing.git", tmp_path)


def test_the_token_is_nowhere_but_in_the_child(
    server: GitServer, cloner: Cloner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No command line shows it while git runs, and no file, log or message holds it afterwards."""
    caplog.set_level(logging.DEBUG)
    url = server.repository("o/slow", {"a.py": "x"}, token=TOKEN)
    server.hang.add("o/slow")
    cloner.wall = 20.0
    clone = gevent.spawn(cloner.clone, url, tmp_path, token=TOKEN)
    with gevent.Timeout(15):
        while not server.seen:
            gevent.sleep(0.01)
    lines = command_lines()
    assert any("fetch" in line and url in line for line in lines), "git was looked at while it ran"
    assert not any(TOKEN in line for line in lines)
    assert not held_in_files(cloner.scratch, TOKEN)
    server.hang.clear()
    server.released.set()
    clone.join(30)
    assert not held_in_files(cloner.scratch, TOKEN)
    assert not held_in_files(tmp_path, TOKEN)
    assert TOKEN not in caplog.text
    if clone.exception is not None:
        assert TOKEN not in str(clone.exception) + getattr(clone.exception, "log", "")


def test_the_token_does_not_follow_a_redirect_to_another_host(
    server: GitServer, cloner: Cloner, tmp_path: Path
) -> None:
    other = GitServer(tmp_path / "other")
    try:
        server.redirects["o/moved"] = other.repository("o/r", {"a.py": "x"})
        url = f"{server.url}/o/moved.git"
        assert (cloner.clone(url, tmp_path).path / "a.py").exists()
        server.seen.clear()
        with pytest.raises(GitError, match="has moved, and a token is not taken along"):
            cloner.clone(url, tmp_path, token=TOKEN)
        assert server.seen[0][1]
        assert not any(header for _, header in other.seen)
    finally:
        other.close()


def test_a_host_that_does_not_answer(cloner: Cloner, server: GitServer, tmp_path: Path) -> None:
    url = server.repository("o/r", {"a.py": "x"})
    cloner.wall = 1.0
    server.hang.add("o/r")
    with pytest.raises(GitError, match="not cloned within 1 seconds"):
        cloner.clone(url, tmp_path)
    server.close()
    with pytest.raises(GitError, match="does not answer"):
        cloner.clone(url, tmp_path)
    cloner.origins = ["https://no-such-host.invalid"]
    with pytest.raises(GitError, match="host name is not known"):
        cloner.clone("https://no-such-host.invalid/a/b", tmp_path)
    assert not list(cloner.scratch.iterdir())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_private_authority_is_trusted_when_it_is_named(
    warden: Warden, site: Workspace, tmp_path: Path
) -> None:
    """TESTRING_GIT_CA adds to the system's certificates, for git alone."""
    authority, context = certificates(tmp_path / "ca")
    server = GitServer(tmp_path / "git", tls=context)
    try:
        url = server.repository("o/private", {"a.py": "x"}, token=TOKEN)
        assert url.startswith("https://127.0.0.1:")
        cloner = Cloner(
            warden=warden, scratch=site.clones, origins=[server.url], wall=30.0, uid=site.fetch_uid
        )
        with pytest.raises(GitError, match="TESTRING_GIT_CA") as caught:
            cloner.clone(url, tmp_path, token=TOKEN)
        assert "\n" not in str(caught.value)
        assert not any(header for _, header in server.seen), "the token went to a host nobody vouches for"
        cloner.ca = authority
        assert (cloner.clone(url, tmp_path, token=TOKEN).path / "a.py").exists()
        cloner.ca = tmp_path / "missing.pem"
        with pytest.raises(GitError, match=r"TESTRING_GIT_CA .*missing.pem: No such file"):
            cloner.clone(url, tmp_path, token=TOKEN)
    finally:
        server.close()


def certificates(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A new authority's certificate, and a server context that it vouches for as 127.0.0.1."""
    folder.mkdir()
    ca, ca_key, crt, key, request = (
        str(folder / name) for name in ("ca.pem", "ca.key", "s.pem", "s.key", "s.csr")
    )
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    sign = ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-set_serial", "1"]
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        [*new, "/CN=authority", "-x509", "-days", "2", "-keyout", ca_key, "-out", ca],
        [*new, "/CN=server", "-keyout", key, "-out", request],
        [*sign, "-days", "2", "-extfile", str(extensions), "-out", crt],
    ):
        subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    return Path(ca), context


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "../r/../../y"])
def test_links_out_of_the_repository_are_refused(
    server: GitServer, cloner: Cloner, tmp_path: Path, target: str
) -> None:
    url = server.repository("o/r", {"a.py": "x", "bad": f"link:{target}"})
    with pytest.raises(ArchiveError, match="bad: a symbolic link that leaves"):
        cloner.clone(url, tmp_path)
    assert not list(tmp_path.glob("r"))


def test_too_large_a_repository(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    cloner.limits = ArchiveLimits(total=200_000, file=150_000)
    url = server.repository("o/r", {"big": os.urandom(500_000)})
    with pytest.raises((GitError, ArchiveError), match=r"larger|too large"):
        cloner.clone(url, tmp_path)
    url = server.repository("o/s", {"zeros": b"\0" * 190_000})
    with pytest.raises(ArchiveError, match="zeros: the repository is too large"):
        cloner.clone(url, tmp_path)


def test_an_empty_repository(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    git("init", "-q", "--bare", str(server.root / "served/o/empty.git"))
    with pytest.raises(GitError, match=r"no branch|empty"):
        cloner.clone(f"{server.url}/o/empty.git", tmp_path)


def test_a_hostile_repository_runs_nothing(server: GitServer, cloner: Cloner, tmp_path: Path) -> None:
    """Attributes, filters and hooks that a checkout could run, all pointing at one command."""
    proof = cloner.scratch.parent / "pwned"
    command = f"touch {proof}"
    url = server.repository(
        "o/r",
        {
            ".gitattributes": "* filter=evil diff=evil merge=evil\n",
            ".gitconfig": f'[filter "evil"]\n\tsmudge = {command}\n\tprocess = {command}\n',
            ".lfsconfig": f"[lfs]\n\turl = {server.url}/evil\n",
            "hooks/post-checkout*": f"#!/bin/sh\n{command}\n",
            "a.py": "x",
        },
    )
    assert (cloner.clone(url, tmp_path).path / "a.py").read_text() == "x"
    assert not proof.exists()


def test_a_tree_with_a_git_folder_inside_is_refused(
    server: GitServer, cloner: Cloner, tmp_path: Path
) -> None:
    url = server.repository("o/r", {"a.py": "x"})
    work = str(server.root / "work/o/r")
    blob = git("-C", work, "rev-parse", "HEAD:a.py")
    inner = git("-C", work, "mktree", data=f"100644 blob {blob}\tconfig\n".encode())
    tree = git("-C", work, "mktree", data=f"040000 tree {inner}\t.GIT\n".encode())
    commit = git("-C", work, "commit-tree", tree, "-m", "evil")
    git("-C", work, "update-ref", "refs/heads/main", commit)
    server.publish("o/r")
    with pytest.raises(GitError, match=r"unsafe|no branch"):
        cloner.clone(url, tmp_path)


def command_lines() -> list[str]:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue  # it has just ended
    return lines


def held_in_files(root: Path, text: str) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
