"""What a trial failed with last, from the files that Tune has just written beside its driver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

_HEAD = re.compile(r"^Failure # \d+ \(occurred at .*\)\n", re.MULTILINE)


class Failure(NamedTuple):
    """Why a trial's process ended before the trial did."""

    own: bool
    """Whether the trial's own code raised; else its process or host died, or Ray could not start one."""
    reason: str
    """One line."""


def last_failure(trial: Trial) -> Failure:
    """The last failure of a trial that has had one.

    Tune writes every failure's text, but as an object only what a process raised or died of: where Ray could not start
    one, for example, the object that lies there is of a failure before, or there is none.
    """
    text = _HEAD.split(Path(trial.error_file).read_text())[-1].strip()
    path = trial.pickled_error_file
    error: Any = None if path is None else ray.cloudpickle.loads(Path(path).read_bytes())
    if str(error).split() != text.split():  # files change the ends of lines
        return Failure(own=False, reason=text.splitlines()[0] if text else "Ray gave no reason")
    if isinstance(error, ray.exceptions.RayActorError):
        return Failure(own=False, reason="its process or host died")
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return Failure(own=True, reason=lines[-1] if lines else type(cause).__name__)
