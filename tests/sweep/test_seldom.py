"""Seldom's laws: what was asked for is done once more, and a long work rests for long."""

from __future__ import annotations

import pytest

from sweep.seldom import Seldom


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("seconds", [0.2, 1, 3])
def test_it_takes_a_small_share_of_the_time_however_often_it_is_asked(clock, seconds):
    done = []

    def work() -> None:
        clock.now += seconds
        done.append(clock.now)

    seldom = Seldom(work, clock)
    while clock.now < 10_000:
        seldom.ask()
        seldom.go_on()
        clock.now += 0.1
    assert 0.04 * clock.now < seconds * len(done) < 0.06 * clock.now


def test_the_last_that_was_asked_is_done_and_nothing_twice(clock):
    done = []
    seldom = Seldom(lambda: done.append(clock.now), clock)
    seldom.finish()
    seldom.go_on()
    assert done == []
    seldom.ask()
    seldom.ask()
    seldom.finish()
    seldom.finish()
    seldom.go_on()
    assert len(done) == 1


@pytest.mark.parametrize(("seconds", "again"), [(2, 40), (100, 160)])
def test_it_goes_on_once_it_has_rested_for_a_minute_at_most(clock, seconds, again):
    def work() -> None:
        done.append(clock.now)
        clock.now += seconds

    done: list[float] = []
    seldom = Seldom(work, clock)
    seldom.now()
    seldom.ask()
    for _ in range(100):
        clock.now += 1
        seldom.go_on()
    assert done == [0, again]


def test_work_that_failed_is_not_tried_again_unless_asked(clock):
    def work() -> None:
        done.append(clock.now)
        raise OSError("disk full")

    done: list[float] = []
    seldom = Seldom(work, clock)
    seldom.ask()
    with pytest.raises(OSError, match="disk full"):
        seldom.finish()
    seldom.finish()
    assert len(done) == 1
