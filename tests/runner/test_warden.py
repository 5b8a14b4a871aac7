"""The warden: exit reports, limits, uids, and nothing left alive whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from node.runner.children import Finished, Job, Warden, WardenLost

PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
ROOT = Path(__file__).parents[2]


def job(code: str, **extra: object) -> Job:
    return Job(argv=[PYTHON, "-c", code], **{"cwd": "/tmp", "env": {"PATH": "/usr/bin:/bin"}, **extra})


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        gevent.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_exit_code_output_and_environment(warden: Warden) -> None:
    code = "import os, sys; print(sorted(os.environ), os.getcwd(), sys.stdin.read() == ''); sys.exit(3)"
    finished = warden.run(job(code, env={"A": "1", "LC_ALL": "C.UTF-8"}))
    assert (finished.why, finished.exit_code, finished.signal, finished.ok) == ("exit", 3, "", False)
    assert finished.output == "['A', 'LC_ALL'] /tmp True\n"
    assert finished.seconds > 0
    assert finished.max_rss > 1 << 20


def test_no_descriptor_is_inherited_and_session_is_its_own(warden: Warden) -> None:
    code = "import os; print(len(os.listdir('/proc/self/fd')), os.getsid(0) == os.getpid())"
    assert warden.run(job(code)).output == "4 True\n"  # 0, 1, 2 and the listing's own
    score = warden.run(job("print(open('/proc/self/oom_score_adj').read())"))
    assert score.output.strip() == "1000"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_signal_names(number: int, warden: Warden) -> None:
    finished = warden.run(job(f"import os; os.kill(os.getpid(), {int(number)})"))
    assert (finished.why, finished.exit_code, finished.signal) == ("exit", None, signal.Signals(number).name)


def test_wall_limit(warden: Warden) -> None:
    finished = warden.run(job("import time; time.sleep(600)", wall=0.3))
    assert (finished.why, finished.signal) == ("wall", "SIGKILL")
    assert finished.seconds < 5


def test_output_is_bounded_at_both_ends(warden: Warden) -> None:
    finished = warden.run(job("print('a' * 5000 + 'b' * 5000)", keep_output=100))
    assert finished.output == "a" * 100 + "\n[... 9801 bytes left out ...]\n" + "b" * 99 + "\n"
    flood = warden.run(job("while True: print('x' * 10000)", output_limit=1 << 20))
    assert flood.why == "output"
    assert 1 << 20 < flood.output_bytes < 4 << 20


def test_what_cannot_be_started(warden: Warden) -> None:
    finished = warden.run(Job(argv=["/no/such/program"], cwd="/"))
    assert (finished.why, finished.message) == (
        "start",
        "cannot execute /no/such/program: No such file or directory",
    )
    assert "/no/such/folder" in warden.run(job("", cwd="/no/such/folder")).message


def test_large_environment(warden: Warden) -> None:
    env = {f"V{number}": "x" * 100_000 for number in range(10)}
    assert warden.run(job("import os; print(len(os.environ['V9']))", env=env)).output == "100000\n"


def test_limits_of_resources(warden: Warden) -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    finished = warden.run(job(code, rlimits={"NOFILE": (100, 200), "CORE": (0, 0)}))
    assert finished.output == "(100, 200) (0, 0)\n"


FOREST = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        for _ in range(4):
            if os.fork() == 0:
                os.setsid()
                while True:
                    time.sleep(0.002)
                    if os.fork():
                        os._exit(0)
        os._exit(0)
time.sleep({seconds})
"""


@pytest.mark.parametrize("uid", [None, 47_200])
def test_reforking_swarm_is_gone(uid: int | None, warden: Warden) -> None:
    if uid is not None and os.geteuid() != 0:
        pytest.skip("another uid needs root")
    name = f"swarm-{uid}-{os.getpid()}"
    code = f"NAME = {name!r}\n" + FOREST.format(seconds=0.3)
    finished = warden.run(job(code, uid=uid, own_uid=uid is not None))
    assert finished.unkillable == 0
    assert finished.left_behind > 0
    left = [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and name.encode() in _command_line(entry)
    ]
    assert left == []


def _command_line(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(os.geteuid() != 0, reason="another uid needs root")
def test_uid_and_groups(warden: Warden) -> None:
    finished = warden.run(job("import os; print(os.getresuid(), os.getresgid(), os.getgroups())", uid=47_201))
    assert finished.output == "(47201, 47201, 47201) (47201, 47201, 47201) []\n"


def test_kill_and_channel(warden: Warden) -> None:
    code = (
        "import os, socket, time\n"
        "s = socket.socket(fileno=int(os.environ['TESTRING_CHANNEL']))\n"
        "s.sendall(s.recv(100).upper())\n"
        "time.sleep(600)\n"
    )
    child = warden.spawn(job(code, channel=True))
    assert child.channel is not None
    child.channel.sendall(b"hello")
    assert child.channel.recv(100) == b"HELLO"
    assert child.finished is None
    child.kill("enough")
    assert child.wait().why == "killed"
    assert child.channel.recv(100) == b""
    child.channel.close()


def test_many_jobs_at_once_do_not_mix(warden: Warden) -> None:
    jobs = [gevent.spawn(warden.run, job(f"import sys; print({n}); sys.exit({n})")) for n in range(20)]
    found: list[Finished] = [greenlet.get(timeout=60) for greenlet in jobs]
    assert [(f.exit_code, f.output) for f in found] == [(n, f"{n}\n") for n in range(20)]


def test_stopping_the_greenlet_ends_the_job(warden: Warden, tmp_path: Path) -> None:
    code = (
        "import os, time; open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'up'); time.sleep(600)"
    )
    greenlet = gevent.spawn(warden.run, job(code, cwd=tmp_path))
    eventually((tmp_path / "up").exists)
    greenlet.kill()
    pid = int((tmp_path / "up").read_text())
    eventually(lambda: not alive(pid))


NODE = """
import sys
sys.path.insert(0, {root!r})
from node.runner.children import Job, Warden
warden = Warden.start()
import gevent, json, os
lost = []
warden.attach(lost.append)
code = '''
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon.tmp", "w").write(str(os.getpid())); os.rename("daemon.tmp", "daemon")
        time.sleep(600)
    os._exit(0)
open("main.tmp", "w").write(str(os.getpid())); os.rename("main.tmp", "main")
time.sleep(600)
'''
child = warden.spawn(Job(argv=[{python!r}, "-c", code], cwd=os.getcwd(), env={{}}))
print(json.dumps([os.getpid(), warden.pid]), flush=True)
while not lost:
    gevent.sleep(0.05)
print(lost[0], flush=True)
try:
    warden.spawn(Job(argv=["/bin/true"], cwd="/"))
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("victim", ["node", "caretaker", "warden"])
def test_sigkill_leaves_nothing(victim: str, tmp_path: Path) -> None:
    script = NODE.format(root=str(ROOT), python=PYTHON)
    node = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    with node, node.stdout:
        node_pid, warden_pid = json.loads(node.stdout.readline())
        eventually(lambda: (tmp_path / "daemon").exists() and (tmp_path / "main").exists())
        (caretaker,) = children_of(warden_pid)
        job_pids = [int((tmp_path / name).read_text()) for name in ("main", "daemon")]
        assert all(map(alive, job_pids))
        os.kill({"node": node_pid, "caretaker": caretaker, "warden": warden_pid}[victim], signal.SIGKILL)
        if victim == "warden":
            assert "the warden process died" in node.stdout.readline()
            assert "WardenLost the warden process is gone" in node.stdout.readline()
            node.wait(timeout=20)
        eventually(lambda: not any(map(alive, [*job_pids, caretaker])))
        if victim == "node":
            eventually(lambda: not alive(warden_pid))
        node.kill()


def test_a_killed_caretaker_is_told_of(warden: Warden) -> None:
    child = warden.spawn(job("import time; time.sleep(600)"))
    eventually(lambda: any(children_of(pid) for pid in children_of(warden.pid)))
    for caretaker in children_of(warden.pid):
        os.kill(caretaker, signal.SIGKILL)
    assert child.wait(timeout=20).why == "lost"


def test_no_warden_is_one_clear_error() -> None:
    warden = Warden.start()
    reasons: list[str] = []
    warden.attach(reasons.append)
    os.kill(warden.pid, signal.SIGKILL)
    eventually(lambda: reasons)
    with pytest.raises(WardenLost, match="the warden process is gone"):
        warden.spawn(job(""))
    warden.stop()
