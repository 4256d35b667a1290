"""One driver at a time for a study in a bucket, where no lock reaches.

A driver writes a claim with its name and goes on rewriting it. One that is not rewritten is of a driver that died: it
runs out. Its age is told by the bucket's clock alone, and whether it lives is seen by watching it, so machines need not
agree on the time.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nasprune.errors import SettingsError
from nasprune.files import write_bytes
from sweep.storage.address import said
from sweep.storage.bucket import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sweep.storage.bucket import Bucket

CLAIM = "claim.json"
BEAT = 10.0
"""Seconds between two writings of a claim."""
LIFE = 45.0
"""Seconds after which a claim that is not rewritten has run out."""
_SETTLE = 1.0  # seconds in which two drivers that began at once have both written: the last one holds
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that goes on while the machine sleeps, when others may take over. On macOS, without BOOTTIME, MONOTONIC does."""


class Claim:
    """A study held by this process."""

    def __init__(self, bucket: Bucket, study: str, owner: str) -> None:
        self._bucket, self._study, self._owner = bucket, study, owner
        self._name = f"{study}/{CLAIM}"
        self._beats = 0
        self._seen = _now()  # when the claim was last known to be this process's
        self._lost = False
        self._over = threading.Event()

    def holds(self, *, unanswered: bool) -> bool:
        """Whether the claim is still this process's.

        Where it was not seen for some beats, as behind a link that was cut, the bucket is asked.

        Args:
            unanswered: What is taken for true where the bucket does not answer.
        """
        if not self._lost and _now() - self._seen > LIFE / 2:
            try:
                self._lost = not self._mine()
            except Problem:
                return unanswered
        return not self._lost

    def check(self) -> None:
        """Make sure of the claim, before something is written to the bucket that only its holder may.

        Raises:
            SettingsError: if another one took over, since this one did not reach the bucket for long.
        """
        if not self.holds(unanswered=True):  # what is to be written will not get there either
            raise SettingsError(
                f"study '{self._study}' was taken over by another process while this one could not reach "
                f"{self._bucket}; that one goes on with it"
            )

    def _write(self) -> None:
        self._beats += 1
        content = {
            "owner": self._owner, "mirror": _mirror(self._bucket), "host": socket.gethostname(), "beats": self._beats,
        }  # fmt: skip
        self._bucket.write(self._name, json.dumps(content).encode())

    def _mine(self) -> bool:
        asked = _now()
        kept = self._bucket.read(self._name)
        mine = kept is not None and bool(json.loads(kept)["owner"] == self._owner)
        if mine:
            self._seen = asked
        return mine

    def _take(self) -> None:
        self._write()
        time.sleep(_SETTLE)
        if not self._mine():
            raise _held(self._study)

    def _keep(self) -> None:
        while not self._over.wait(BEAT):
            try:
                if not self._mine():
                    self._lost = True
                    return
                self._write()
            except Problem:
                continue  # it may answer at the next beat

    def _release(self) -> None:
        with suppress(*Problem):  # it runs out
            if self._mine():
                self._bucket.delete(self._name)


@contextmanager
def held(bucket: Bucket, study: str, say: Callable[[str], object]) -> Iterator[Claim]:
    """Hold a study while the block runs.

    The caller holds the lock of the study's folder in this node's mirror, so only other machines are waited for.

    Args:
        bucket: Its storage.
        study: Its name.
        say: Is told when a dead driver's claim must run out first, and when it has.

    Raises:
        SettingsError: if a process that lives holds it, or the bucket cannot be used.
    """
    claim = Claim(bucket, study, uuid.uuid4().hex)
    try:
        _wait_for_the_dead(bucket, study, say)
        claim._take()
    except Problem as error:
        raise SettingsError(f"study '{study}' cannot be claimed in {bucket} ({said(error)}); try again") from None
    beating = threading.Thread(target=claim._keep, name="claim", daemon=True)
    beating.start()
    try:
        yield claim
    finally:
        claim._over.set()
        beating.join()
        claim._release()


def _wait_for_the_dead(bucket: Bucket, study: str, say: Callable[[str], object]) -> None:
    """Return once nobody holds the study; raise SettingsError if somebody does who lives."""
    name = f"{study}/{CLAIM}"
    first = bucket.read(name)
    if first is None:
        return
    claim, told = json.loads(first), False
    host = claim["host"]
    if claim["mirror"] == _mirror(bucket):  # whose lock this process holds: it is dead
        return
    while bucket.age(name) < LIFE:
        if not told:
            say(f"study '{study}' is claimed by a process on {host}: waiting up to {LIFE:g} s to see whether it lives")
            told = True
        time.sleep(min(2.0, BEAT / 2))
        now = bucket.read(name)
        if now is None:
            return
        if now != first:
            raise _held(study)
    say(f"the process on {host} that ran study '{study}' is gone: going on where it stopped")


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _mirror(bucket: Bucket) -> str:
    """The name of this node's mirror, for as long as it exists."""
    path = bucket.root / ".mirror"
    try:
        return path.read_text()
    except FileNotFoundError:
        write_bytes(path, uuid.uuid4().hex.encode())
        return path.read_text()


def _held(study: str) -> SettingsError:
    return SettingsError(f"study '{study}' is being run by another process; wait for it, or give another --study")
