"""Deaths and errors of trials: which of them Tune is told of, and what a trial failed with last."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
    from ray.tune.experiment import Trial

OUT_OF_MEMORY = (
    "its node ran out of memory; fewer trials at once need less: give each more with --cpus-per-trial or "
    "--gpus-per-trial"
)
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
    if isinstance(error, RayActorError):
        reason = OUT_OF_MEMORY if str(error) == OUT_OF_MEMORY else "its process or host died"
        return Failure(own=False, reason=reason)
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return Failure(own=True, reason=lines[-1] if lines else type(cause).__name__)


@contextmanager
def every_death_counted() -> Iterator[None]:
    """Within, Tune takes whatever Ray ended a trial's process by for the death of that process.

    Ray kills processes of a node that runs out of memory, and says so by an error that is not one of an actor. Tune
    ends the whole sweep at any such error, other trials with it.
    """
    plain = RayActorManager._actor_task_failed

    def told(manager: RayActorManager, tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.RayError) and not isinstance(exception, RayActorError | RayTaskError):
            text = OUT_OF_MEMORY if isinstance(exception, OutOfMemoryError) else str(exception)
            exception = RayActorError(error_msg=text)
        plain(manager, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = told  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = plain  # type: ignore[method-assign]
