"""Work worth doing now and then, elsewhere: it takes a small share of the time, and rests for a minute at most."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_REST = 19
"""Rests are this many times as long as the work was: that is 5 % of the time, unless `_LONGEST` cuts a rest short."""
_LONGEST = 60.0
"""Seconds of a rest at most: once the work took long, since all else was starting, it need not again."""


class Work(Protocol):
    """Work that goes on elsewhere."""

    def done(self) -> bool:
        """Whether `end` need not wait."""

    def end(self) -> None:
        """Wait for it, and take what it has done."""


class Seldom:
    """Does work that was asked for, but not before it has rested from the last time, and never two at once.

    Args:
        begin: Begins the work.
        clock: Seconds that never go back.
    """

    def __init__(self, begin: Callable[[], Work], clock: Callable[[], float] = time.monotonic) -> None:
        self._start = begin
        self._clock = clock
        self._asked = False
        self._work: Work | None = None
        self._begun = 0.0
        self._rested = clock()

    def ask(self) -> None:
        """It is to be done once more, now or later."""
        self._asked = True

    def go_on(self) -> None:
        """Begin it if it was asked for since it last began, and has rested; end it once it is done.

        Waits for nothing: to be called often.
        """
        if self._work is not None:
            if self._work.done():
                self._end(self._work)
        elif self._asked and self._clock() >= self._rested:
            self._begin()

    def finish(self) -> None:
        """Do it if it was asked for since it last began, and wait for it."""
        if self._work is not None:
            self._end(self._work)
        if self._asked:
            self._end(self._begin())

    def _begin(self) -> Work:
        self._asked = False
        self._begun = self._clock()
        self._work = self._start()
        return self._work

    def _end(self, work: Work) -> None:
        self._work = None
        try:
            work.end()
        finally:
            ended = self._clock()
            self._rested = ended + min(_LONGEST, _REST * (ended - self._begun))
