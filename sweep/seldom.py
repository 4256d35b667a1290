"""Work worth doing now and then: it takes a small share of the time, and rests for a minute at most."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_REST = 19
"""Rests are this many times as long as the work was: that is 5 % of the time, unless `_LONGEST` cuts a rest short."""
_LONGEST = 60.0
"""Seconds of a rest at most: once the work took long, since all else was starting, it need not again."""


class Seldom:
    """Does work that was asked for, but not before it has rested from the last time.

    Args:
        work: What to do.
        clock: Seconds that never go back.
    """

    def __init__(self, work: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._work = work
        self._clock = clock
        self._asked = False
        self._rested = clock()

    def ask(self) -> None:
        """It is to be done once more, now or later."""
        self._asked = True

    def go_on(self) -> None:
        """Do it if it was asked for since it was last done, and has rested; to be called often."""
        if self._asked and self._clock() >= self._rested:
            self.now()

    def finish(self) -> None:
        """Do it if it was asked for since it was last done."""
        if self._asked:
            self.now()

    def now(self) -> None:
        """Do it."""
        self._asked = False
        begun = self._clock()
        self._work()
        ended = self._clock()
        self._rested = ended + min(_LONGEST, _REST * (ended - begun))
