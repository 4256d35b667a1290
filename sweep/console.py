"""Standard output: nothing is cut where there is no terminal, and a reader that has gone ends the run."""

from __future__ import annotations

import errno
import io
import sys
from contextlib import suppress

from rich.console import Console

_WIDE = 400


class StandardOutput(Console):
    """Standard output as rich prints to it; in a file or a log, where rich assumes 80 columns, tables are whole."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold what is not in the locale's alphabet
        super().__init__()
        if not self.is_terminal:
            self.width = max(self.width, _WIDE)

    def tell(self, text: str) -> None:
        """Print a line as it is, neither coloured nor wrapped: a name or a command to be copied."""
        self.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """The reader has gone, as `head` does: the same as Ctrl-C, and not a silent end with code 1.

        Raises:
            KeyboardInterrupt: always.
        """
        try:
            super().on_broken_pipe()  # from here on nothing is printed
        except SystemExit:
            raise KeyboardInterrupt from None

    def _check_buffer(self) -> None:
        """A terminal that was closed ends no run that was told to outlive it, as by disown: nobody reads it then."""
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            with suppress(SystemExit):
                super().on_broken_pipe()
