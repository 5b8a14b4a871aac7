"""Rules that a random run breaks too rarely to be the only guard."""

from __future__ import annotations

import pytest

from node.core.failover import blocks, first_evaluation_after
from node.core.replication import Replica
from node.core.timing import LAN, PROFILES, Timing
from node.core.voters import agreed, desired_size, learners, next_voters
from node.core.voting_events import (
    Append,
    BecomeMaster,
    Commit,
    PeerDied,
    Persist,
    Persisted,
    Placed,
    Received,
    Refused,
    ReplicaEffect,
    Saved,
    Send,
    Tick,
    found,
)
from proto.voting import (
    EMPTY,
    AppendAnswer,
    AppendEntries,
    Epoch,
    LogRecord,
    Mark,
    PreVote,
    Vote,
    VoteAnswer,
    VotingMessage,
)

TRIO = ("a", "b", "c")


def saved(*voters: str, extra: int = 0) -> Saved:
    """A disk whose log names these voters, with some records after that."""
    epoch = Epoch(1, "a")
    records = [LogRecord(epoch, 1, b"", voters)]
    records += [LogRecord(epoch, position, b"x%d" % position) for position in range(2, 2 + extra)]
    return Saved(counter=epoch.counter, commit=1, records=tuple(records))


def sent(effects: list[ReplicaEffect], kind: type[VotingMessage]) -> list[Send]:
    return [e for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def persisted(effects: list[ReplicaEffect]) -> Persisted:
    return Persisted(number=next(e.number for e in effects if isinstance(e, Persist)))


def hear(replica: Replica, node: str, message: VotingMessage, now: float) -> list[ReplicaEffect]:
    return replica.handle(Received(node=node, incarnation=1, message=message), now)


def test_a_vote_leaves_only_after_the_disk_has_it() -> None:
    replica = Replica("b", saved(*TRIO), LAN, 0.0)
    last = replica.journal.log.last
    effects = hear(replica, "a", Vote(epoch=Epoch(2, "a"), last=last), 10.0)
    assert not sent(effects, VoteAnswer)
    answers = sent(replica.handle(persisted(effects), 10.1), VoteAnswer)
    assert [(a.node, a.message.granted) for a in answers] == [("a", True)]  # type: ignore[union-attr]


def test_one_vote_per_counter_also_after_a_restart() -> None:
    replica = Replica("b", saved(*TRIO), LAN, 0.0)
    last = replica.journal.log.last
    effects = hear(replica, "a", Vote(epoch=Epoch(2, "a"), last=last), 10.0)
    write = next(e for e in effects if isinstance(e, Persist))
    disk = saved(*TRIO)
    again = Replica(
        "b", Saved(counter=write.counter, voted=write.voted, commit=1, records=disk.records), LAN, 20.0
    )
    refused = sent(hear(again, "c", Vote(epoch=Epoch(2, "c"), last=last), 20.1), VoteAnswer)
    assert refused[0].message.granted is False  # type: ignore[union-attr]


def test_an_older_log_is_refused_and_a_heard_master_is_kept() -> None:
    replica = Replica("b", saved(*TRIO, extra=2), LAN, 0.0)
    old = sent(hear(replica, "c", PreVote(epoch=Epoch(2, "c"), last=Mark(Epoch(1, "a"), 2)), 5.0), VoteAnswer)
    assert old[0].message.reason == "older log"  # type: ignore[union-attr]
    last = replica.journal.log.last
    hear(replica, "a", AppendEntries(epoch=Epoch(1, "a"), previous=last, last=last.position), 6.0)
    heard = sent(hear(replica, "c", PreVote(epoch=Epoch(2, "c"), last=last), 6.1), VoteAnswer)
    assert heard[0].message.reason == "hears the master"  # type: ignore[union-attr]


def elect(replica: Replica, voter: str, now: float) -> tuple[list[ReplicaEffect], float]:
    """Let it stand, with one vote of another; the effects of its victory."""
    now = max(now, replica.next_deadline() or now)
    asked = sent(replica.handle(Tick(), now), PreVote)
    epoch = asked[0].message.epoch  # type: ignore[union-attr]
    yes = VoteAnswer(epoch=epoch, binding=False, granted=True, counter=epoch.counter - 1)
    effects = hear(replica, voter, yes, now)
    replica.handle(persisted(effects), now)
    yes = VoteAnswer(epoch=epoch, binding=True, granted=True, counter=epoch.counter)
    return hear(replica, voter, yes, now), now


def test_records_of_an_older_epoch_commit_only_with_one_of_the_present() -> None:
    replica = Replica("a", saved(*TRIO, extra=2), LAN, 0.0)
    effects, now = elect(replica, "b", 1.0)
    own = persisted(effects)
    epoch = replica.epoch
    answer = AppendAnswer(epoch=epoch, following=epoch, counter=epoch.counter, accepted=True, stored=3)
    assert not [e for e in hear(replica, "b", answer, now) if isinstance(e, Commit)]
    replica.handle(own, now)
    answer = AppendAnswer(epoch=epoch, following=epoch, counter=epoch.counter, accepted=True, stored=4)
    effects = hear(replica, "b", answer, now)
    assert [e.upto for e in effects if isinstance(e, Commit)] == [4]
    assert [e for e in effects if isinstance(e, BecomeMaster)]


def test_a_master_counts_its_own_records_only_from_the_disk() -> None:
    replica = Replica("a", found("a"), LAN, 0.0)
    effects = replica.handle(Tick(), 0.0)
    effects = replica.handle(persisted(effects), 0.0)
    assert replica.handle(Append(ticket=1, payloads=(b"x",)), 0.0) == [Refused(ticket=1, hint="a")]
    replica.handle(persisted(effects), 0.0)
    effects = replica.handle(Append(ticket=2, payloads=(b"x", b"y")), 0.0)
    assert [e for e in effects if isinstance(e, Placed)] == [Placed(ticket=2, first=3, last=4)]
    assert not [e for e in effects if isinstance(e, Commit)]
    effects = replica.handle(persisted(effects), 0.0)
    assert [e.upto for e in effects if isinstance(e, Commit)] == [4]


def follow_in_pair(*, stamp: float, commit: int) -> Replica:
    """A backup of two that the master has just returned a stamp to."""
    replica = Replica("b", saved("a", "b"), LAN, 9.0)
    last = replica.journal.log.last
    ping = AppendEntries(
        epoch=Epoch(1, "a"), previous=last, last=last.position, commit=commit, stamp=10.0, echo=stamp
    )
    hear(replica, "a", ping, 10.0)
    return replica


@pytest.mark.parametrize(
    ("stamp", "commit", "when", "takes_over"),
    [
        (9.9, 1, 10.5, True),
        (9.9, 1, 9.9 + LAN.lease + 0.1, False),
        (9.9, 2, 10.5, False),
        (0.0, 1, 10.5, False),
        (8.5, 1, 10.5, False),
    ],
    ids=["lease", "lease is old", "not in sync", "no echo", "echo of a forerunner"],
)
def test_evidence_counts_only_with_a_lease(stamp: float, commit: int, when: float, takes_over: bool) -> None:
    replica = follow_in_pair(stamp=stamp, commit=commit)
    replica.handle(PeerDied(node="a", incarnation=1), when)
    for _ in range(4):
        deadline = replica.next_deadline()
        assert deadline is not None
        for effect in replica.handle(Tick(), deadline):
            if isinstance(effect, Persist):
                replica.handle(Persisted(number=effect.number), deadline)
    assert (replica.master == "b") is takes_over


def test_evidence_against_a_past_incarnation_is_nothing() -> None:
    replica = follow_in_pair(stamp=9.9, commit=1)
    last = replica.journal.log.last
    later = AppendEntries(epoch=Epoch(1, "a"), previous=last, last=last.position, stamp=10.1)
    replica.handle(Received(node="a", incarnation=2, message=later), 10.1)
    replica.handle(PeerDied(node="a", incarnation=1), 10.2)
    assert replica.master == "a"
    assert (replica.next_deadline() or 0.0) > 12.0


def test_a_message_in_anothers_name_is_dropped() -> None:
    replica = Replica("b", saved(*TRIO), LAN, 0.0)
    message = AppendEntries(epoch=Epoch(9, "a"), previous=EMPTY, last=0)
    effects = hear(replica, "c", message, 1.0)
    assert not [e for e in effects if isinstance(e, Send | Persist)]
    assert replica.epoch == Epoch(1, "a")


def test_a_torn_log_is_cut_where_it_differs() -> None:
    replica = Replica("b", saved(*TRIO, extra=3), LAN, 0.0)
    new = LogRecord(Epoch(2, "c"), 3, b"", TRIO)
    message = AppendEntries(epoch=Epoch(2, "c"), previous=Mark(Epoch(1, "a"), 2), records=(new,), last=3)
    effects = hear(replica, "c", message, 1.0)
    write = next(e for e in effects if isinstance(e, Persist))
    assert (write.truncate_from, write.records) == (3, (new,))
    assert replica.journal.log.last == Mark(Epoch(2, "c"), 3)


def test_majorities_and_substitutes() -> None:
    assert agreed([TRIO], {"a", "b"})
    assert not agreed([TRIO], {"a"}, "a", {"b"})
    assert not agreed([("a", "b")], {"a"}, "a")
    assert agreed([("a", "b")], {"a"}, "a", {"b"})
    assert not agreed([("a", "b")], {"a"}, "c", {"b"})
    assert not agreed([TRIO, ("a", "d")], {"a", "b"}, "a")
    assert not agreed([], {"a"})


def test_the_number_of_voters() -> None:
    sizes = [desired_size(nodes, replicas) for nodes, replicas in [(1, 1), (2, 1), (3, 1), (4, 2), (9, 2)]]
    assert sizes == [1, 2, 3, 3, 5]
    assert desired_size(9, 0) == 1


def test_the_next_voters() -> None:
    def change(
        current: tuple[str, ...], roster: str, gone: tuple[str, ...] = (), ready: str | None = None
    ) -> tuple[str, ...] | None:
        return next_voters(current, roster=tuple(roster), ready=set(ready or roster), gone=gone, replicas=1)

    assert change(("a",), "ab") == ("a", "b")
    assert change(("a",), "ab", ready="a") is None
    assert change(TRIO, "abcd", ("c",)) == ("a", "b", "d")
    assert change(TRIO, "abc", ("c",)) == ("a", "b")
    assert change(TRIO, "ab") is None, "silence removes nobody"
    assert learners(TRIO, roster=tuple("abde"), gone=("c",), replicas=1) == ("d",)


def test_timing_profiles_and_contradictions() -> None:
    assert set(PROFILES) == {"local", "lan", "wan"}
    with pytest.raises(ValueError, match="suspect"):
        Timing(ping=1.0, suspect=2.0)
    with pytest.raises(ValueError, match="lease"):
        Timing(suspect=5.0, lease=4.0)
    with pytest.raises(ValueError, match="more than 0"):
        Timing(ping=0.0)


def test_evaluation_ids_after_a_takeover_alone() -> None:
    assert [first_evaluation_after(n) for n in (0, 999_999, 1_000_000)] == [1_000_000, 1_000_000, 2_000_000]


def test_two_masters_that_part_from_one_log_and_whoever_parts_later_count_among_other_ids():
    million = 1_000_000
    for highest in (0, 17, million - 1, 5 * million):
        evidence, upto = blocks(highest, again=False)
        silence, same = blocks(highest, again=True)
        assert upto == same
        later, _ = blocks(upto, again=False)
        assert highest < evidence < silence < later
        assert {silence - evidence, later - silence} == {million}
