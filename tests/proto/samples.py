"""One or more of every message, with fixed content, for the vectors."""

from __future__ import annotations

import hashlib

from proto import messages as m
from proto import voting as v

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

OPEN = m.OpenSession(
    session=SESSION,
    slot=1,
    evaluation=17,
    project=0,
    name="shop",
    package=SHA,
    size=70_000,
    mode="lazy",
    options=OPTIONS,
)
EPOCH = v.Epoch(4, "bob")

MESSAGES: tuple[m.AnyMessage, ...] = (
    m.Join(address="10.0.0.1:7000", slots=2, alone=4, draining=True),
    m.Held(session=OPEN, opened=True),
    m.HeldRun(run=m.Run(assignment=WORK, session=SESSION, module="tests/test_a.py"), answered=7),
    m.Reported(),
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
    m.Leaving(),
    m.HoldToken(request="r-1", token="t", origin="https://github.com"),
    m.KeepPackages(number=3, packages={SHA: 70_000}),
    m.PackagesKept(number=3),
    m.PackagesKept(number=4, problem="the disk is full"),
    m.Bye(reason="the node stops"),
    OPEN,
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
    m.FetchState(upto=12),
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
    v.AppendEntries(
        epoch=EPOCH,
        previous=v.Mark(v.Epoch(3, "alice"), 11),
        records=(v.LogRecord(EPOCH, 12, b"record"), v.LogRecord(EPOCH, 13, b"", ("alice", "bob"))),
        commit=11,
        last=13,
        stamp=1.5,
        echo=1.25,
    ),
    v.AppendAnswer(
        epoch=EPOCH, following=EPOCH, counter=4, accepted=True, stored=13, commit=11, stamp=2.5, echo=1.5
    ),
    v.AppendAnswer(epoch=EPOCH, following=EPOCH, counter=4, accepted=False, previous=11, hint=9),
    v.InstallSnapshot(epoch=EPOCH, upto=v.Mark(EPOCH, 12), voters=("alice", "bob"), last=13, stamp=1.5),
    v.PreVote(epoch=EPOCH, last=v.Mark(v.Epoch(3, "alice"), 11)),
    v.Vote(epoch=EPOCH, last=v.Mark(v.Epoch(3, "alice"), 11)),
    v.VoteAnswer(epoch=EPOCH, binding=True, granted=True, counter=4, commit=v.Mark(EPOCH, 12)),
    v.VoteAnswer(epoch=EPOCH, binding=False, granted=False, counter=5, reason="it hears a master"),
    v.Resigned(epoch=EPOCH),
    v.LeaveVoters(),
    v.Evidence(node="alice", incarnation=3),
    v.SilenceReport(node="alice", incarnation=3),
    v.RingPing(number=1),
    v.RingPong(number=1),
    v.SilenceQuestion(node="alice"),
    v.SilenceOpinion(node="alice", heard=True),
    v.OfferHistory(history="aside-1", evaluation=17, ended=EPOCH),
    v.OfferHistory(history="aside-1", evaluation=18, packages={SHA: 70_000}),
    v.WantHistory(history="aside-1", evaluation=17, part=1),
    v.WantHistory(history="aside-1", evaluation=17, settled=True),
    v.History(history="aside-1", evaluation=17, part=1, last=True, body=b"\x90"),
)
