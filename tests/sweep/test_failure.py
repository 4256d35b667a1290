"""Whether a trial raised, or its process died, or Ray could not start one: by what Tune writes, whatever was before."""

from __future__ import annotations

import traceback

import pytest
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayTaskError
from ray.tune.experiment import Trial

from nasprune.errors import DataError
from sweep.failure import Failure, last_failure


@pytest.fixture
def trial(tmp_path) -> Trial:
    class Here(Trial):
        local_path = str(tmp_path)

    return Here("run_trial", stub=True)


def raised() -> RayTaskError:
    """As it reaches Tune from a process whose code raised."""
    error = DataError("image 7 cannot be read:\r\nremove it")
    return RayTaskError("run_trial", "".join(traceback.format_exception(error)), error).as_instanceof_cause()


RAISED = (raised, Failure(own=True, reason="remove it"))
DIED = (ActorDiedError, Failure(own=False, reason="its process or host died"))
NOT_STARTED = (
    lambda: ActorUnschedulableError("worker startup repeatedly failed.\nSee raylet.err"),
    Failure(own=False, reason="The actor is not schedulable: worker startup repeatedly failed."),
)


@pytest.mark.parametrize("before", [RAISED, DIED, NOT_STARTED, None])
@pytest.mark.parametrize(("error", "expected"), [RAISED, DIED, NOT_STARTED])
def test_the_last_failure_is_told_whatever_was_before(trial, before, error, expected):
    if before:
        trial.handle_error(before[0]())
    trial.handle_error(error())
    assert last_failure(trial) == expected
