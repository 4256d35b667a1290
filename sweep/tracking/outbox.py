"""What is still to be told, kept on disk in order: a journal of JSON lines, and how far it has been delivered.

Pure file logic. Whoever writes it may be killed between any two steps; whoever opens it next finds every entry that
was appended and not marked as delivered. An entry whose mark was lost is found again, so deliveries must be such that
doing one twice is doing it once.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.errors import ArtifactError, DataError
from nasprune.files import reason, write_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

JOURNAL, MARK, REFUSED = "journal.jsonl", "delivered", "refused.jsonl"

_ROOM = 1_000_000  # bytes of delivered lines that may lie in the journal before it is emptied


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to tell.

    Attributes:
        number: Its place in the order; grows over all sessions of a study.
        kind: What it is.
        time_ms: When it was said, in milliseconds since 1970.
        body: JSON values.
    """

    number: int
    kind: str
    time_ms: int
    body: Mapping[str, Any]

    def line(self) -> bytes:
        """The entry as a line of the journal."""
        values = {"n": self.number, "kind": self.kind, "time": self.time_ms, **self.body}
        return (json.dumps(values) + "\n").encode()


class Outbox:
    """Entries in a folder. One process at a time; its threads may share the object.

    Args:
        directory: Made if missing.
        superseding: Kinds of which only the newest entry matters; older ones need not be delivered.

    Raises:
        ArtifactError: If what lies in the folder is damaged.
        DataError: If it cannot be written.
    """

    def __init__(self, directory: Path, *, superseding: Collection[str] = ()) -> None:
        self._directory = directory
        self._superseding = frozenset(superseding)
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._last = self._size = 0
        self._open()

    def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Keep an entry; it is on disk once this returns.

        Raises:
            DataError: If the disk is full or cannot be written; then the entry is not kept.
        """
        with self._lock:
            entry = Entry(number=self._last + 1, kind=kind, time_ms=int(time.time() * 1000), body=dict(body))
            line = entry.line()
            _append(self._directory / JOURNAL, line)
            self._size += len(line)
            self._add(entry)
            return entry

    def first(self) -> Entry | None:
        """The oldest entry that waits."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def first_alike(self, most: int) -> list[Entry]:
        """The oldest entries that wait, as far as they are of one kind."""
        with self._lock:
            kind = self._waiting[0].kind if self._waiting else ""
            alike = itertools.takewhile(lambda entry: entry.kind == kind, self._waiting)
            return list(itertools.islice(alike, most))

    def superseded(self, entry: Entry) -> bool:
        """Whether a newer entry stands for this one."""
        with self._lock:
            return entry.kind in self._superseding and self._newest[entry.kind] > entry.number

    def mark(self, entry: Entry) -> None:
        """The oldest entries, up to this one, have been delivered."""
        with self._lock:
            self._mark(entry.number)
            while self._waiting and self._waiting[0].number <= entry.number:
                self._waiting.popleft()
            if not self._waiting and self._size > _ROOM:
                os.truncate(self._directory / JOURNAL, 0)
                self._size = 0

    def set_aside(self, entry: Entry) -> None:
        """The oldest entry was refused: those behind it go on, and the next session finds it first again."""
        with self._lock:
            _append(self._directory / REFUSED, entry.line())
        self.mark(entry)

    def __len__(self) -> int:
        """How many entries wait, without those that a newer one stands for."""
        with self._lock:
            return sum(e.kind not in self._superseding or self._newest[e.kind] == e.number for e in list(self._waiting))

    def _open(self) -> None:
        """Find what waits, and leave a journal of just that: no torn line, nothing delivered."""
        mark = self._read_mark()
        lines = self._read(JOURNAL)
        self._last = max([mark, *(entry.number for entry in lines)])
        again = self._read(REFUSED)
        waiting = again + [entry for entry in lines if entry.number > mark]
        if again:  # they come first, so all get numbers of their own; a kill before the end leaves them twice
            waiting = [
                Entry(number=self._last + place, kind=e.kind, time_ms=e.time_ms, body=e.body)
                for place, e in enumerate(waiting, start=1)
            ]
        content = b"".join(entry.line() for entry in waiting)
        write_bytes(self._directory / JOURNAL, content)
        (self._directory / REFUSED).unlink(missing_ok=True)
        self._size = len(content)
        for entry in waiting:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._last = entry.number
        if entry.kind in self._superseding:
            self._newest[entry.kind] = entry.number

    def _read(self, name: str) -> list[Entry]:
        path = self._directory / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read ({reason(error)}); restore it") from error
        whole, _, _torn = content.rpartition(b"\n")  # a kill tears no line but the last
        return list(_entries(path, whole.splitlines()))

    def _read_mark(self) -> int:
        try:
            return int((self._directory / MARK).read_text())
        except (FileNotFoundError, ValueError):
            return 0  # all that lies there is delivered again, which changes nothing

    def _mark(self, number: int) -> None:
        # Not flushed to the disk: after a power cut an older mark only makes deliveries come again.
        path = self._directory / MARK
        fresh = path.with_name(path.name + ".unfinished")
        try:
            fresh.write_text(f"{number}\n")
            fresh.replace(path)
        except OSError as error:
            raise DataError(f"cannot write {path} ({reason(error)}): free some space") from error


def _entries(path: Path, lines: Iterable[bytes]) -> Iterable[Entry]:
    for line in lines:
        try:
            values = json.loads(line)
            number, kind, time_ms = int(values.pop("n")), str(values.pop("kind")), int(values.pop("time"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{path} is damaged at '{line[:40].decode(errors='replace')}'; restore it, or delete it to go on "
                "without what waited there for tracking"
            ) from error
        yield Entry(number=number, kind=kind, time_ms=time_ms, body=values)


def _append(path: Path, line: bytes) -> None:
    """Write a line at the end, to the disk itself, whole or not at all.

    Raises:
        DataError: If it cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                rest = line
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except BaseException:  # an interrupt as well: half a line would spoil the next one
                file.truncate(before)
                raise
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({reason(error)}): free some space or choose another storage folder"
        ) from error
