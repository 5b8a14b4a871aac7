"""Pings, silence and giving up, on a clock that is only a number."""

from __future__ import annotations

import math

import pytest

from proto.liveness import Due, Liveness, Timing

TIMING = Timing(ping_interval=0.5, silence_after=2.0, close_after=5.0)


def follow(liveness: Liveness, until: float) -> list[tuple[float, Due]]:
    """Serve every deadline on time; what was due, and when."""
    story = []
    while (deadline := liveness.next_deadline()) is not None and deadline <= until:
        due = liveness.due(deadline)
        assert due, f"the deadline {deadline} asked for nothing"
        story += [(deadline, one) for one in due]
        if Due.CLOSE in due:
            break
    return story


def test_an_unheard_peer_is_pinged_then_silent_then_given_up() -> None:
    story = follow(Liveness(TIMING, 0.0), 100.0)
    assert story[:3] == [(0.5, Due.PING), (1.0, Due.PING), (1.5, Due.PING)]
    assert [entry for entry in story if entry[1] is not Due.PING] == [(2.0, Due.SILENT), (5.0, Due.CLOSE)]
    assert [at for at, due in story if due is Due.PING] == [0.5 * n for n in range(1, 10)]


def test_hearing_moves_every_deadline() -> None:
    liveness = Liveness(TIMING, 0.0)
    assert liveness.next_deadline() == 0.5
    assert liveness.heard(0.4) is False
    assert liveness.next_deadline() == 0.9
    assert liveness.due(0.8) == []
    assert follow(liveness, 2.3) == [(0.9, Due.PING), (1.4, Due.PING), (1.9, Due.PING)]


def test_a_silent_peer_that_speaks_is_heard_once() -> None:
    liveness = Liveness(TIMING, 0.0)
    follow(liveness, 3.0)
    assert liveness.silent
    assert liveness.heard(3.1) is True
    assert liveness.heard(3.2) is False
    assert not liveness.silent


def test_a_stall_of_this_side_is_not_the_peers_silence() -> None:
    liveness = Liveness(TIMING, 0.0)
    assert liveness.due(4.0) == [Due.PING]
    assert liveness.next_deadline() == 4.5
    assert liveness.heard(4.1) is False


def test_a_stall_excuses_only_once_so_a_coarse_timer_still_learns_of_silence() -> None:
    liveness = Liveness(TIMING, 0.0)
    assert liveness.due(4.0) == [Due.PING]
    assert liveness.due(4.5) == [Due.SILENT, Due.PING]
    assert liveness.due(10.0) == [Due.CLOSE]


def test_a_stall_past_the_end_gives_the_peer_one_more_ping() -> None:
    liveness = Liveness(TIMING, 0.0)
    assert liveness.due(60.0) == [Due.PING]
    liveness.heard(60.1)
    assert liveness.due(61.0) == [Due.PING]


def test_silence_may_fall_between_two_pings() -> None:
    story = follow(Liveness(Timing(ping_interval=0.5, silence_after=2.25, close_after=5.0), 0.0), 2.6)
    assert story[3:] == [(2.0, Due.PING), (2.25, Due.SILENT), (2.5, Due.PING)]


def test_infinity_means_never() -> None:
    never = Timing(ping_interval=math.inf, silence_after=math.inf, close_after=math.inf)
    liveness = Liveness(never, 0.0)
    assert liveness.next_deadline() is None
    assert liveness.due(1e9) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"ping_interval": 0.0},
        {"ping_interval": 3.0},
        {"silence_after": 30.0},
        {"handshake_timeout": 0.0},
        {"ping_interval": math.nan},
        {"handshake_timeout": math.nan},
    ],
)
def test_timing_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above 0"):
        Timing(**wrong)
