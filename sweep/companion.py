"""A process beside the driver, for what would hold up the trials if the driver did it. It ends when the driver does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).resolve().parents[1]
_NICENESS = 5
"""Behind the driver, which trials wait for; before trials on this machine, which Ray starts at 15."""


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start `module`, which calls `live`, as a program; its standard input and output are ours.

    Raises:
        OSError: If there is no room for one.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        # Without the working directory in its path, whose files could pass for packages.
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,  # a terminal's Ctrl-C is for the driver, which has a last word to say
    )


def live(work: Callable[[], None], hear: Callable[[str], None] = lambda _: None) -> None:
    """Be such a process: do the work in a thread, and end, in the middle of anything, once the driver is gone.

    Args:
        work: Done once; the process ends with it.
        hear: Takes each line of what the driver says.
    """
    os.nice(_NICENESS)

    def do() -> None:
        try:
            work()
        except BaseException:  # even what would end a thread silently
            traceback.print_exc()
            _end(1)
        _end(0)

    threading.Thread(target=do, daemon=True).start()
    for line in sys.stdin:
        hear(line)
    _end(0)


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
