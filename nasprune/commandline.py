"""Commands: what is wrong becomes one line and exit code 2, never a traceback or a page of usage."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from nasprune.errors import NaspruneError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong flag as every other error is reported."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(f"{message}; see --help")


def in_one_line(main: Callable[[], int], *, stopped: str = "stopped") -> int:
    """The exit code of a command: its own, 2 for a NaspruneError, 130 once it was stopped, which `stopped` tells."""
    try:
        return main()
    except NaspruneError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n")
        return 130
