"""`uv run sweep/run.py`: run a study and leave its Pareto front."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__" and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # a script's own folder comes first there, and its files would pass for packages

from rich.console import Console

from sweep.commandline import command, parse_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run the study that the arguments describe; 0 if every trial has its point, else 1."""
    settings = parse_settings(arguments).resolved()
    from sweep.report import table
    from sweep.study import run_study

    console = Console()
    outcome, tracker = run_study(settings, console)
    console.print(table(outcome.front))
    hint = tracker.browse_hint()
    storage = "" if settings.storage == Path("runs").resolve() else f" --storage {settings.storage}"
    console.print(f"\nfront:   {settings.directory / 'front.html'}", highlight=False, soft_wrap=True)
    if hint.command:
        console.print(f"browse:  {hint.command}", highlight=False, soft_wrap=True)
    console.print(f"trials:  {hint.link}", highlight=False, soft_wrap=True)
    console.print(f"study:   {hint.front}", highlight=False, soft_wrap=True)
    console.print(
        f"promote: uv run sweep/promote.py --study {settings.study}{storage} --max-macs-ratio 0.25 --alias champion",
        highlight=False,
        soft_wrap=True,
    )
    if outcome.unfinished:
        console.print(f"{outcome.unfinished} trials are unfinished; the same command goes on from here")
    return 1 if outcome.failures or outcome.unfinished else 0


if __name__ == "__main__":
    command(main)
