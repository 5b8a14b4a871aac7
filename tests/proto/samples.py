"""One or more of every message, with fixed content, for the vectors."""

from __future__ import annotations

import hashlib

from proto import messages as m

SHA = hashlib.sha256(b"content").hexdigest()
WORK = m.AssignmentId(4, "bob", 9)
SESSION = m.AssignmentId(4, "bob", 8)
TEST = m.TestId("tests/test_a.py::test_ü[1-x]")
AGAIN = m.TestId("tests/test_a.py::test_ü[1-x]", 1)
OPTIONS = m.Options(pytest_args=("-k", "fast"), env={"LANG": "C"}, timeout_test=1.5, slots=2)
VERDICT = m.Verdict(
    test=AGAIN,
    outcome="failed",
    module="tests/test_a.py",
    seconds=0.25,
    message="assert 1 == 2",
    traceback="E   assert 1 == 2",
    output="out\n",
    reports=("setup passed", "call failed", "teardown passed"),
)

MESSAGES: tuple[m.AnyMessage, ...] = (
    m.Join(address="10.0.0.1:7000", slots=2, holding=(WORK,)),
    m.Welcome(cluster="c", epoch=4, void=(WORK, SESSION)),
    m.NotMaster(epoch=4, hint="10.0.0.2:7000"),
    m.Members(
        epoch=4,
        members=(
            m.Member(node="bob", address="10.0.0.2:7000"),
            m.Member(
                node="alice", address="10.0.0.1:7000", slots=2, neighbours=("10.0.0.2:7000",), draining=True
            ),
        ),
    ),
    m.Neighbours(addresses=("10.0.0.2:7000",)),
    m.Drain(),
    m.Bye(reason="the node stops"),
    m.OpenSession(
        session=SESSION,
        slot=1,
        evaluation=17,
        project=0,
        name="shop",
        package=SHA,
        size=70_000,
        mode="lazy",
        options=OPTIONS,
    ),
    m.Run(assignment=WORK, session=SESSION, module="tests/test_a.py"),
    m.Run(assignment=WORK, session=SESSION, select=(TEST, AGAIN)),
    m.Withdraw(assignment=WORK),
    m.Withdraw(assignment=WORK, tail=True),
    m.CloseSession(session=SESSION, kill=True),
    m.Listing(session=SESSION, module="tests/test_a.py", tests=(TEST, AGAIN)),
    m.SessionOpened(
        session=SESSION,
        modules=("tests/test_a.py",),
        command=("python", "-m", "pytest"),
        versions={"pytest": "9.0.0"},
        notes=("one",),
    ),
    m.Collected(assignment=WORK, module="tests/test_a.py", tests=(TEST,), last=False, groups={"g": (TEST,)}),
    m.Started(assignment=WORK, test=TEST),
    m.Verdicts(assignment=WORK, first=300, verdicts=(m.Verdict(test=TEST, outcome="passed"), VERDICT)),
    m.Answered(assignment=WORK, upto=302, superseded=(301,)),
    m.Done(assignment=WORK),
    m.HandedBack(assignment=WORK),
    m.HandedBack(assignment=WORK, tests=(AGAIN,), why="tail"),
    m.SessionEnded(session=SESSION, how="closed"),
    m.SessionEnded(
        session=SESSION, how="died", message="killed by SIGSEGV", log="...", assignment=WORK, suspect=TEST
    ),
    m.Fetch(sha256=SHA, offset=4_294_967_296),
    m.Store(),
    m.Store(sha256=SHA, size=7),
    m.FileStart(size=7, offset=3),
    m.FileEnd(sha256=SHA, size=7),
    m.FileStored(sha256=SHA, size=7),
    m.Abort(code="too-large", reason="at most 5 bytes are taken"),
    m.Request(id=1, query=m.SubmitArchive(request="r-1", sha256=SHA, options=OPTIONS, filename="shop.zip")),
    m.Request(
        id=2, query=m.SubmitProjects(request="r-2", projects=("https://github.com/a/b",), auth_token="t")
    ),
    m.Request(id=3, query=m.ListEvaluations(before=17, limit=5)),
    m.Request(id=4, query=m.GetEvaluation(evaluation=17), relayed=True),
    m.Request(id=5, query=m.GetTests(evaluation=17, state="failed", project="shop", page=2, limit=50)),
    m.Request(id=6, query=m.GetStats()),
    m.Request(id=7, query=m.GetNetwork()),
    m.Request(id=8, query=m.GetHealth()),
    m.Request(id=9, query=m.CancelEvaluation(evaluation=17)),
    m.Request(id=10, query=m.DrainNode(node="alice")),
    m.Response(id=1, status=202, body=b'{"id":17}'),
    m.Response(id=2, status=503, retry_after=2),
)
