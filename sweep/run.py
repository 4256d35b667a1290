"""`uv run sweep/run.py`: run a study and leave its front."""

from __future__ import annotations

import importlib.util
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        sys.path.pop(0)  # a script's own folder comes first there, and its files would pass for packages
    # `ray submit` copies this one file to a cluster's head; the packages are there already, or not at all.
    lacking = [name for name in ("nasprune", "sweep", "torch", "ray", "optuna", "mlflow", "rich")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if lacking:
        sys.stderr.write(
            f"error: {sys.executable} has no {', '.join(lacking)}; run `uv sync` in the project's folder and use its "
            "Python, or on a cluster install the packages on all nodes: ray up CLUSTER.yaml\n"
        )
        sys.exit(2)

from nasprune.errors import NaspruneError
from sweep.commandline import command, name_places, parse_settings
from sweep.console import StandardOutput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.settings import StudySettings


def main(arguments: Sequence[str]) -> int:
    """Run the study that the arguments describe; 0 if every trial came to its end, else 1."""
    settings = parse_settings(arguments).resolved()
    from sweep.report.text import table
    from sweep.study import run_study

    console = StandardOutput()
    outcome, tracker = run_study(settings, console)
    console.print(table(outcome.front))
    hint = tracker.browse_hint()
    page = settings.place().where(f"{settings.study}/front.html")
    console.tell(f"\nfront:   {page}")
    if hint.command:
        console.tell(f"browse:  {hint.command}")
    console.tell(f"trials:  {hint.link}")
    console.tell(f"study:   {hint.front}")
    if outcome.front["points"]:
        console.tell(f"promote: {promote_command(settings, outcome.front)}")
    dataset = dataset_line(settings)
    if dataset:
        console.tell(f"\n{dataset}")
    if outcome.stopped:
        console.print(f"{outcome.stopped} of {settings.trials} trials were stopped early; their points stay")
    if outcome.unfinished:
        console.print(f"{outcome.unfinished} trials are unfinished; the same command goes on from here")
    return 1 if outcome.failures or outcome.unfinished else 0


def dataset_line(settings: StudySettings) -> str:
    """Where the front across all studies of this data set is, with this one in it; empty if there are no others.

    What is wrong with another study is said, and does not make this one fail.
    """
    from sweep.compare import compare_with

    try:
        return compare_with(settings.study, settings)
    except NaspruneError as error:
        return f"the front across studies of this data set was not drawn: {error}"


def promote_command(settings: StudySettings, front: Mapping[str, Any]) -> str:
    """The command that promotes from the middle of this study's front."""
    words = ["uv", "run", "sweep/promote.py", "--study", settings.study, *name_places(settings)]
    ratios = sorted(point["macs_ratio"] for point in front["points"] if point["on_front"])
    words += ["--max-macs-ratio", f"{math.ceil(ratios[len(ratios) // 2] * 100) / 100:g}", "--alias", "champion"]
    return shlex.join(words)


if __name__ == "__main__":
    command(main)
