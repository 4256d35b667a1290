"""Standard output, for people: what becomes of a run whose reader has gone."""

from __future__ import annotations

from rich.console import Console


class StandardOutput(Console):
    """Standard output as rich prints to it."""

    def on_broken_pipe(self) -> None:
        """The reader has gone, as `head` does: the same as Ctrl-C, and not a silent end with code 1.

        Raises:
            KeyboardInterrupt: always.
        """
        try:
            super().on_broken_pipe()  # from here on nothing is printed
        except SystemExit:
            raise KeyboardInterrupt from None
