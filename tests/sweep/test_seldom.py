"""Seldom's laws: what was asked for is done once more, a long work rests for long, and nobody waits for it."""

from __future__ import annotations

import pytest

from sweep.seldom import Seldom


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Job:
    """Work that takes `seconds` of a clock, whoever waits for it."""

    def __init__(self, clock: Clock, seconds: float, log: list[tuple[float, float]]) -> None:
        self.clock, self.begun, self.until, self.log = clock, clock.now, clock.now + seconds, log

    def done(self) -> bool:
        return self.clock.now >= self.until

    def end(self) -> None:
        self.clock.now = max(self.clock.now, self.until)
        self.log.append((self.begun, self.clock.now))


class Failing(Job):
    def end(self) -> None:
        super().end()
        raise OSError("disk full")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("seconds", [0.2, 1, 3])
def test_it_takes_a_small_share_of_the_time_however_often_it_is_asked(clock, seconds):
    log: list[tuple[float, float]] = []
    seldom = Seldom(lambda: Job(clock, seconds, log), clock)
    while clock.now < 10_000:
        seldom.ask()
        before = clock.now
        seldom.go_on()
        assert clock.now == before, "going on waits for nothing"
        clock.now += 0.1
    assert 0.04 * clock.now < seconds * len(log) < 0.06 * clock.now


def test_the_last_that_was_asked_is_done_and_nothing_twice(clock):
    log: list[tuple[float, float]] = []
    seldom = Seldom(lambda: Job(clock, 2, log), clock)
    seldom.finish()
    seldom.go_on()
    assert log == []
    seldom.ask()
    seldom.ask()
    seldom.finish()
    seldom.finish()
    seldom.go_on()
    assert log == [(0, 2)]


def test_what_is_asked_meanwhile_is_done_afterwards_and_never_two_at_once(clock):
    log: list[tuple[float, float]] = []
    seldom = Seldom(lambda: Job(clock, 2, log), clock)
    seldom.ask()
    seldom.go_on()
    clock.now = 1
    seldom.ask()
    seldom.go_on()
    seldom.finish()
    assert log == [(0, 2), (2, 4)]


@pytest.mark.parametrize(("seconds", "again"), [(2, 40), (100, 160)])
def test_it_goes_on_once_it_has_rested_for_a_minute_at_most(clock, seconds, again):
    log: list[tuple[float, float]] = []
    seldom = Seldom(lambda: Job(clock, seconds, log), clock)
    for _ in range(300):
        seldom.ask()
        seldom.go_on()
        clock.now += 1
    assert [begun for begun, _ in log][:2] == [0, again]


def test_work_that_failed_is_not_tried_again_unless_asked(clock):
    log: list[tuple[float, float]] = []
    seldom = Seldom(lambda: Failing(clock, 1, log), clock)
    seldom.ask()
    with pytest.raises(OSError, match="disk full"):
        seldom.finish()
    seldom.finish()
    assert len(log) == 1
