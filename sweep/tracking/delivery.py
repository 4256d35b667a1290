"""A thread that delivers what waits in the outbox, in order, and waits itself while the store is away."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from nasprune.errors import NaspruneError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sweep.tracking.outbox import Entry, Outbox

_PAUSES = (1.0, 15.0)  # seconds between two tries while a store is away: at first, at most
_TOGETHER = 100  # entries of one kind that are delivered together where they wait: a slow server answers fewer times
_LOG = logging.getLogger(__name__)


class StoreAwayError(Exception):
    """The store is away, or busy for now; the message says which."""


class RefusedError(SettingsError):
    """The store takes no such thing from us, whatever the thing is."""


class Delivery:
    """Entries go into the outbox at once, and from there to the store in a thread of their own.

    The thread dies with the process, at any point: what it had not marked is delivered again by the next session.

    Args:
        outbox: Where entries wait.
        deliver: Tells the store of entries of one kind; must change nothing if it is done already. Raises
            `StoreAwayError` for what may go on later, `RefusedError` for what a later session may try again, and a
            NaspruneError for an entry that is wrong.
    """

    def __init__(self, outbox: Outbox, deliver: Callable[[Sequence[Entry]], None]) -> None:
        self._outbox = outbox
        self._deliver = deliver
        self._changed = threading.Condition()
        self._error: Exception | None = None
        self._attempts = 0
        self._failed = 0  # the last attempt that found the store away
        self._failures = 0  # such attempts since the store was last reached
        self._not_before = 0.0
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """Entries that are not delivered."""
        return len(self._outbox)

    def say(self, kind: str, body: Mapping[str, Any]) -> None:
        """Keep an entry, to be delivered behind those before it.

        Raises:
            NaspruneError: What the store refused since the last call, or that the entry cannot be kept on disk.
        """
        self._outbox.append(kind, body)
        self.start()
        self.check()

    def start(self) -> None:
        """Deliver what waits, if nobody does."""
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._closed = False
                self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what the thread met since the last call, once."""
        with self._changed:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self, seconds: float) -> bool:
        """Wait until all is delivered; no longer than it takes to find that the store is away.

        Args:
            seconds: To wait at most.

        Returns:
            Whether all is delivered.
        """
        deadline = time.monotonic() + seconds
        self.start()
        with self._changed:
            self._not_before, before = 0.0, self._attempts
            self._changed.notify_all()
            while self._outbox.first() is not None and self._thread is not None and self._thread.is_alive():
                left = deadline - time.monotonic()
                if left <= 0 or self._failed > before:
                    return False
                self._changed.wait(min(left, 0.5))
            return self._outbox.first() is None

    def close(self, seconds: float) -> None:
        """End the thread once it has done what it is doing.

        Args:
            seconds: To wait for that at most.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self) -> None:
        try:
            while entries := self._next():
                problem = self._attempt(entries)
                if len(entries) > 1 and isinstance(problem, NaspruneError):
                    entries = entries[:1]  # one of them was refused: which?
                    problem = self._attempt(entries)
                if isinstance(problem, StoreAwayError):
                    self._hold(problem)
                else:
                    self._pass(entries[-1], problem)
        except Exception as error:  # a full disk, or a mistake of ours: told by the next call
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> list[Entry]:
        """The next entries, when their time has come; none once closed."""
        with self._changed:
            while not self._closed:
                entries = self._outbox.first_alike(_TOGETHER)
                left = self._not_before - time.monotonic()
                if entries and left <= 0:
                    return entries
                self._changed.wait(left if entries else None)
            return []

    def _attempt(self, entries: Sequence[Entry]) -> NaspruneError | StoreAwayError | None:
        with self._changed:
            self._attempts += 1
        wanted = [entry for entry in entries if not self._outbox.superseded(entry)]
        try:
            self._deliver(wanted)
        except (NaspruneError, StoreAwayError) as problem:
            return problem
        return None

    def _hold(self, problem: StoreAwayError) -> None:
        with self._changed:
            if not self._failures and not self._closed:
                _LOG.warning("%s; the study goes on, and tracking waits", problem)
            self._not_before = time.monotonic() + pause(self._failures)
            self._failures += 1
            self._failed = self._attempts
            self._changed.notify_all()

    def _pass(self, entry: Entry, problem: NaspruneError | None) -> None:
        """The store took all up to the entry, or refused this one; those behind it go on, and the next call tells."""
        with self._changed:
            if isinstance(problem, RefusedError):
                self._outbox.set_aside(entry)
            else:
                self._outbox.mark(entry)  # what is wrong with a file or a name is found again where it still is
            self._error = self._error or problem
            self._failures = 0
            self._changed.notify_all()


def pause(failures: int) -> float:
    """Seconds until the next try, after a first failure and so many more."""
    return min(_PAUSES[0] * 2.0 ** min(failures, 10), _PAUSES[1])
