"""The picture and the page of a front, drawn by a process beside the driver, which trials need not wait for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from nasprune.errors import DataError, NaspruneError
from nasprune.files import write_bytes
from sweep import companion

if TYPE_CHECKING:
    import subprocess


class Drawing:
    """A process that draws a front, once.

    Args:
        front: front.json.
        picture: The PNG file to write, whole or not at all.
        page: The HTML file, which needs no network; likewise.

    Raises:
        DataError: If there is no room for the process.
    """

    def __init__(self, front: Path, picture: Path, page: Path) -> None:
        self._files = (front, picture, page)
        self._process = self._begin()

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    def done(self) -> bool:
        """Whether `end` need not wait."""
        return self._process.poll() is not None

    def end(self) -> None:
        """Wait until it is drawn. Where the process was killed, another one draws.

        Raises:
            DataError: If the files cannot be written, or that one was killed as well.
            RuntimeError: If it met a mistake of ours.
        """
        problem, code = self._wait()
        if code < 0:
            self._process = self._begin()
            problem, code = self._wait()
        if problem:
            raise DataError(problem)
        if code < 0:
            raise self._no_room(f"its process was killed with signal {-code}, twice")
        if code:
            raise RuntimeError(f"{self._files[0]} could not be drawn; its process has said why")

    def _begin(self) -> subprocess.Popen[str]:
        try:
            return companion.start(__name__, *map(str, self._files))
        except OSError as error:
            raise self._no_room(str(error.strerror)) from error

    def _wait(self) -> tuple[str, int]:
        with self._process:  # which closes its ends: it does not outlive a driver that is told to stop here
            return cast("IO[str]", self._process.stdout).read(), self._process.wait()

    def _no_room(self, why: str) -> DataError:
        return DataError(
            f"{self._files[0]} could not be drawn ({why}); expected room for a process beside the driver; free some "
            "memory, and run the same command again"
        )


def draw(front: Path, picture: Path, page: Path) -> None:
    """Draw a front here: takes seconds, of which most are imports.

    Raises:
        DataError: If a file cannot be written.
    """
    from sweep.report import plot, web

    content = json.loads(front.read_text())
    write_bytes(picture, plot.draw(content))
    write_bytes(page, web.page(content).encode())


def _draw_and_tell() -> None:
    try:
        draw(*map(Path, sys.argv[1:]))
    except NaspruneError as problem:
        sys.stdout.write(str(problem))


if __name__ == "__main__":
    companion.live(_draw_and_tell)
