"""Whether a trial raised, or its process died, or Ray could not start one: by what Tune writes, whatever was before."""

from __future__ import annotations

import traceback
from types import SimpleNamespace

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorDiedError, ActorUnschedulableError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from nasprune.errors import DataError
from sweep.cluster.preflight import NodeError
from sweep.failure import OUT_OF_MEMORY, Failure, every_death_counted, last_failure
from sweep.settings import StudySettings
from sweep.start import start
from sweep.storage.ground import Ground, Packed
from sweep.trial import of_the_node


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


@pytest.fixture
def told(monkeypatch):
    """What Tune is told of errors that its own manager of processes is given, as (error of an actor, error)."""
    manager, errors = object.__new__(RayActorManager), []
    manager._failed_actor_ids = set()
    monkeypatch.setattr(manager, "_cleanup_actor", lambda tracked_actor: None)
    actor = SimpleNamespace(actor_id=1, _on_error=lambda actor, error: errors.append(("process", error)))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda actor, error: errors.append(("task", error)))

    def give(error: Exception) -> list[tuple[str, Exception]]:
        manager._actor_task_failed(tracked_actor_task=task, exception=error)
        return errors

    return give


def test_a_process_that_was_killed_for_memory_counts_as_dead_and_the_sweep_goes_on(trial, told):
    error = OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory on the node was 23 GB")
    with every_death_counted():
        errors = told(error)
    assert [who for who, _ in errors] == ["process", "task"]
    assert all(isinstance(each, RayActorError) for _, each in errors)
    trial.handle_error(errors[-1][1])
    assert last_failure(trial) == Failure(own=False, reason=OUT_OF_MEMORY)


def test_any_other_death_keeps_what_ray_says_of_it(trial, told):
    with every_death_counted():
        (_, error), _ = told(ActorUnschedulableError("the node group is gone"))
    trial.handle_error(error)
    assert not last_failure(trial).own


def test_what_a_trial_raises_is_no_death(told):
    with every_death_counted():
        errors = told(raised())
    assert [who for who, _ in errors] == ["task"]


def test_a_mistake_of_ours_is_not_taken_for_a_death(told):
    with every_death_counted(), pytest.raises(RuntimeError):
        told(KeyError("x"))


def test_tune_is_left_as_it_was(told):
    with every_death_counted():
        pass
    with pytest.raises(RuntimeError):
        told(OutOfMemoryError("low on memory"))


def test_a_node_that_lacks_the_storage_is_at_fault_and_not_each_trial_there(tmp_path, monkeypatch):
    """One that joined late was not looked at before, and would fail all trials, one after the other."""
    monkeypatch.setattr("sweep.start.check_this_node", lambda *_: None)
    monkeypatch.setattr("sweep.storage.images._several_hosts", lambda: False)
    settings = StudySettings(storage=str(tmp_path))
    ground = Ground(dense="d", answers="a", images=Packed(name="p", data_hash="h"), versions={})
    with pytest.raises(NodeError, match=f"storage {tmp_path} given, which there has no dense network") as told:
        start(settings, ground, settings.descent_settings({}))
    assert of_the_node(told.value)
