"""Points that ended on the front, tuned longer: new points beside the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from nasprune.artifact import read_artifact, write_artifact
from nasprune.session import Session
from sweep.cluster.ray_cluster import DEATHS, as_ours
from sweep.cluster.told import Told
from sweep.front import on_front
from sweep.settings import settings_hash
from sweep.start import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ray.util.queue import Queue

    from sweep.cluster.ray_cluster import Places
    from sweep.display import Display
    from sweep.settings import StudySettings
    from sweep.storage.ground import Ground


def polished_name(point: str, epochs: int) -> str:
    """What the version of a point is called that was tuned so many epochs longer."""
    return f"{point}-polished{epochs}"


def to_polish(settings: StudySettings, front: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The points of the descents' own front that are not polished yet; none where the study polishes none.

    Polished points do not push others from the front that is polished.

    Args:
        settings: The study's.
        front: The front object.
    """
    if not settings.polish_epochs:
        return []
    descended = [point for point in front["points"] if not point["polish_epochs"]]
    best = on_front([p["macs_ratio"] for p in descended], [p["val_accuracy"] for p in descended])
    there = settings.directory / "points"
    return [
        point
        for point, good in zip(descended, best, strict=True)
        if good and not (there / polished_name(point["point"], settings.polish_epochs)).exists()
    ]


def polish_front(
    settings: StudySettings,
    front: Mapping[str, Any],
    ground: Ground,
    places: Places,
    display: Display,
    polished: Callable[[str], None],
) -> None:
    """Tune every point of the descents' own front for the study's polish epochs.

    What was polished before, in this session or another, is left alone; one that was stopped goes on.

    Args:
        settings: The study's.
        front: The front object.
        ground: What all trials share.
        places: The resources of a trial are those of a polish, too.
        display: Is told how far it is.
        polished: Called with the name of each new point.

    Raises:
        NaspruneError: if one fails.
    """
    waiting = [point["point"] for point in to_polish(settings, front)]
    if not waiting:
        return
    display.say(f"polishing {len(waiting)} points of the front, {settings.polish_epochs} epochs each")
    task = ray.remote(polish).options(
        num_cpus=places.trial["CPU"], num_gpus=places.trial.get("GPU", 0.0), max_retries=DEATHS
    )
    with Told(display.polishing) as told:
        running = {task.remote(settings, name, ground, told.queue): name for name in waiting}
        while running:
            ended = told.first_of(list(running))
            name = running.pop(ended)
            try:
                ray.get(ended)
            except ray.exceptions.RayError as error:
                for other in running:
                    ray.cancel(other, force=True)
                raise as_ours(error, f"point {name} could not be polished") from error
            display.polished(name)
            polished(polished_name(name, settings.polish_epochs))


def polish(settings: StudySettings, point: str, ground: Ground, told: Queue) -> None:
    """Tune one point longer, with the dense network as teacher, and write it under its new name."""
    points, name = settings.directory / "points", polished_name(point, settings.polish_epochs)
    begun = start(settings, ground, settings.polish_settings())
    storage, kept = settings.place(), f"{settings.study}/trials/{name}"
    storage.fetch_folder(f"{settings.study}/points/{point}")
    storage.fetch_files(kept)
    before = read_artifact(points / point)
    checkpoints = settings.directory / "trials" / name
    identity = settings_hash({"point": name, "settings": settings.identity(), "dense": ground.dense})
    session = Session(checkpoints, lambda epoch: told.put((point, epoch)), identity=identity, kept=storage.store_path)
    tuned = begun.descent.finish(before.network, before.record["widths"], before.record["budget"], session)
    record = {
        **before.record,
        **tuned.measures(begun.data.classes),
        "recalibrated_val_accuracy": before.record["recalibrated_val_accuracy"],
        "point": name,
        "polish_epochs": settings.polish_epochs,
        "settings": {**before.record["settings"], "study": settings.as_json()},
        "provenance": begun.origin,
    }
    write_artifact(points / name, tuned.network, record)
    storage.store_folder(f"{settings.study}/points/{name}")
    storage.remove(kept)
