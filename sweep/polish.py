"""Points that ended on the front, tuned longer: new points beside the old ones."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import ray

from nasprune.artifact import read_artifact, write_artifact
from nasprune.compute import choose_compute
from nasprune.data import load
from nasprune.dense import obtain_dense
from nasprune.descent import descent_from
from nasprune.progress import Session
from sweep.cluster import as_ours
from sweep.settings import settings_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sweep.cluster import Places
    from sweep.settings import StudySettings


def polished_name(point: str) -> str:
    """What the polished version of a point is called."""
    return f"{point}-polished"


def polish_front(
    settings: StudySettings, front: Mapping[str, Any], places: Places, polished: Callable[[str, str], None]
) -> None:
    """Tune every point of the front for the study's polish epochs.

    What was polished before, in this session or another, is left alone; one that was stopped goes on.

    Args:
        settings: The study's.
        front: The front object.
        places: The resources of a trial are those of a polish, too.
        polished: Called with trial and name of each new point.

    Raises:
        NaspruneError: if one fails.
    """
    waiting = [
        point
        for point in front["points"]
        if point["on_front"]
        and not point["polish_epochs"]
        and not (settings.directory / "points" / polished_name(point["point"])).exists()
    ]
    task = ray.remote(polish).options(
        num_cpus=places.trial["CPU"], num_gpus=places.trial.get("GPU", 0.0), max_retries=2
    )
    running = {task.remote(settings, point["point"]): point for point in waiting}
    while running:
        (ready, *_), _ = ray.wait(list(running))
        point = running.pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayError as error:
            for other in running:
                ray.cancel(other, force=True)
            raise as_ours(error, f"point {point['point']} could not be polished") from error
        polished(point["trial"], polished_name(point["point"]))


def polish(settings: StudySettings, point: str) -> None:
    """Tune one point longer, with the dense network as teacher, and write it under its new name."""
    points, name = settings.directory / "points", polished_name(point)
    shared = settings.storage / "shared"
    compute = choose_compute(settings.device, threads=settings.cpus_per_trial)
    data = load(settings.data_settings(), shared / "data")
    dense = obtain_dense(shared / "dense", settings.dense_settings(len(data.classes)), data, compute)
    start = read_artifact(points / point)
    how = settings.polish_settings()
    checkpoints = settings.directory / "trials" / name
    identity = settings_hash({"point": point, "settings": settings.identity(), "epochs": how.tuning.epochs})
    descent = descent_from(dense, data, how, compute, seed=settings.seed)
    tuned = descent.finish(start.network, start.record["budget"], Session(checkpoints, identity=identity))
    before = {key: start.record[key] for key in ("recalibrated_val_accuracy",)}
    record = {**start.record, **tuned.measures(), **before, "point": name, "polish_epochs": how.tuning.epochs}
    write_artifact(points / name, tuned.network, record)
    shutil.rmtree(checkpoints, ignore_errors=True)
