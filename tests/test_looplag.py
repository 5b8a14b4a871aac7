"""The gauge of the loop's lag: with a clock that the test holds, and on a real hub."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import gevent
import pytest

from node import looplag, views
from node.looplag import INTERVAL, NOTABLE, SPAN, SPANS, LoopLag
from tests.support.waiting import until


class Clock:
    """Sleeps of ``INTERVAL`` that end as late as the test says; then the gauge's greenlet is killed."""

    def __init__(self, late: Sequence[float]) -> None:
        self.now = 1000.0
        self._late = list(late)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if not self._late:
            raise gevent.GreenletExit
        self.now += seconds + self._late.pop(0)


def gauge(late: Sequence[float]) -> tuple[LoopLag, Clock]:
    clock = Clock(late)
    lag = LoopLag(clock, clock.sleep)
    with pytest.raises(gevent.GreenletExit):
        lag.run()
    return lag, clock


def test_the_largest_is_kept_and_leaves_the_window() -> None:
    lag, clock = gauge([0.001, 0.2, 0.003, -0.001])
    assert lag.shown() == {"largest_ms": 200.0, "recent_ms": 200.0}
    clock.now += (SPANS - 1) * SPAN
    assert lag.recent == pytest.approx(0.2)
    clock.now += SPAN
    assert lag.shown() == {"largest_ms": 200.0, "recent_ms": 0.0}


def test_a_small_lag_later_does_not_hide_a_large_one_of_the_same_minute() -> None:
    lag, _ = gauge([0.3, *[0.001] * int(2 * SPAN / INTERVAL)])
    assert lag.recent == lag.largest == pytest.approx(0.3)


def test_it_keeps_no_more_than_the_window() -> None:
    lag, _ = gauge([SPAN] * (3 * SPANS))
    assert len(lag._spans) == SPANS


def test_one_line_a_span_for_what_is_notable(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="testring.node"):
        gauge([NOTABLE / 2, NOTABLE, NOTABLE + 0.1])
    assert [record.getMessage() for record in caplog.records] == [
        "the loop was 500 ms late: heartbeats and answers waited so long"
    ]


def test_what_holds_a_real_loop_up_is_seen() -> None:
    lag = LoopLag()
    greenlet = gevent.spawn(lag.run)
    gevent.sleep(0)
    held = time.monotonic() + 0.1
    while time.monotonic() < held:
        pass
    until(lambda: gevent.sleep(INTERVAL) or lag.largest >= 0.1 - INTERVAL, 5.0, "the lag")
    greenlet.kill()


def test_every_node_on_the_way_adds_its_own() -> None:
    problem = {"status": 503}
    once = views.health_view(problem, "m", "m:1", {"largest_ms": 1.0, "recent_ms": 0.5})
    twice = views.health_view(once, "w", "w:1", LoopLag().shown())
    assert problem == {"status": 503}
    assert twice["loop_lag"] == {
        "m:1": {"node": "m", "largest_ms": 1.0, "recent_ms": 0.5},
        "w:1": {"node": "w", "largest_ms": 0.0, "recent_ms": 0.0},
    }


def test_the_window_is_a_minute() -> None:
    assert looplag.SPAN * looplag.SPANS == 60.0
