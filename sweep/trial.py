"""One trial: from the dense network to finished points on disk."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from ray import tune

from nasprune.artifact import Record, data_record, read_artifact, read_record, write_artifact
from nasprune.compute import choose_compute
from nasprune.data import load
from nasprune.dense import obtain_dense
from nasprune.descent import descent_from
from nasprune.errors import DataError
from nasprune.latency import read_table
from nasprune.progress import Progress, Session
from nasprune.provenance import provenance
from sweep.points import volume
from sweep.settings import settings_hash

if TYPE_CHECKING:
    from nasprune.artifact import Artifact
    from nasprune.compute import Compute
    from nasprune.data import SceneData
    from nasprune.latency import LatencyTable
    from sweep.settings import StudySettings


def run_trial(config: dict[str, Any], *, settings: StudySettings, dense_key: str) -> None:
    """Descend through the trial's budgets; write each point, then report it.

    Every epoch reports `phase`, `budget`, `epoch`, `epochs`, `step` and its metrics. Every point reports its name as
    `point`, its measures, how many `points` the trial has by now, and their `hypervolume`, the one figure that trials
    are compared by. `finished` is True only with a trial's last point, `went_on` only where a point is told again whose
    trial had begun the next budget.

    A trial that was stopped goes on from its last point and the checkpoint after it.

    Args:
        config: `trial` (its name in the study), `budget` in mode target, and explored search settings.
        settings: The study's, with absolute paths that hold on every node.
        dense_key: Which dense network all trials share; must be the one these settings lead to.
    """
    trial, budgets = config["trial"], settings.budgets_of(config)
    explored = {key: value for key, value in config.items() if key not in ("trial", "budget")}
    names = [point_name(trial, budget) for budget in budgets]
    directory = settings.directory / "points"
    done = next((place for place, name in enumerate(names) if not (directory / name).exists()), len(names))
    records = [read_record(directory / name) for name in names[:done]]

    checkpoints = settings.directory / "trials" / trial

    def report_point(*, went_on: bool = False) -> None:
        tune.report(
            {
                **_numbers(records[-1]),
                "trial": trial,
                "point": names[len(records) - 1],
                "points": len(records),
                "went_on": went_on,
                "step": settings.steps(budgets[: len(records)]),
                "hypervolume": volume(records, settings.budgets),
                "finished": len(records) == len(budgets),
            }
        )

    for name in names[:done]:  # killed between writing a point and clearing up behind it
        shutil.rmtree(checkpoints / name, ignore_errors=True)
    if done == len(budgets):
        shutil.rmtree(checkpoints, ignore_errors=True)
    if records:  # what was reported before the kill is known no more
        report_point(went_on=done < len(budgets) and (checkpoints / names[done]).exists())
    if done == len(budgets):
        return
    compute, data, dense = trial_ground(settings, dense_key)

    def report_epoch(progress: Progress) -> None:
        budget = budgets[len(records)]
        searched = settings.descent_settings(explored).epochs(budget)[0] if progress.phase == "tune" else 0
        tune.report(
            {
                "finished": False,
                "trial": trial,
                "phase": progress.phase,
                "budget": budget,
                "epoch": progress.epoch,
                "epochs": progress.epochs,
                "step": settings.steps(budgets[: len(records)]) + searched + progress.epoch,
                **{f"{progress.phase}_{name}": value for name, value in progress.metrics.items()},
            }
        )

    identity = settings_hash({"config": config, "settings": settings.identity(), "dense": dense_key})

    def session(budget: float) -> Session:
        return Session(checkpoints / point_name(trial, budget), report_epoch, identity=identity)

    descent = descent_from(
        dense, data, settings.descent_settings(explored), compute, seed=settings.seed, table=trial_table(settings)
    )
    reached = read_artifact(directory / names[done - 1]) if done else None
    for pruned in descent.through(budgets[done:], session, reached=reached):
        name = names[len(records)]
        record = {
            **{key: dense.record[key] for key in _OF_DENSE},
            "point": name,
            "trial": trial,
            **pruned.measures(),
            "polish_epochs": 0,
            "settings": {"study": settings.as_json(), "explored": explored},
            "data": data_record(settings.data_settings()),
            "provenance": trial_provenance(settings, compute, data, dense_key),
        }
        write_artifact(directory / name, pruned.network, record)
        shutil.rmtree(checkpoints / name, ignore_errors=True)
        records.append(record)
        report_point()
    shutil.rmtree(checkpoints, ignore_errors=True)


_OF_DENSE = ("network", "head", "dataset", "classes", "image_size", "statistics")


def point_name(trial: str, budget: float) -> str:
    """A point's name in its study: the trial and the budget in percent."""
    return f"{trial}-{budget * 100:g}pct"


def _numbers(record: Record) -> dict[str, float]:
    return {key: value for key, value in record.items() if isinstance(value, int | float)}


def trial_ground(settings: StudySettings, dense_key: str) -> tuple[Compute, SceneData, Artifact]:
    """What every trial stands on: device, images and the dense network.

    Raises:
        DataError: if these images lead to another dense network than the study's.
    """
    shared = settings.storage / "shared"
    compute = choose_compute(settings.device, threads=settings.cpus_per_trial)
    data = load(settings.data_settings(), shared / "data")
    dense = obtain_dense(shared / "dense", settings.dense_settings(len(data.classes)), data, compute)
    if dense.directory.name != dense_key:
        raise DataError(
            f"the images of study '{settings.study}' changed while it ran: its dense network was {dense_key}, "
            f"these images lead to {dense.directory.name}; start another study on them"
        )
    return compute, data, dense


def trial_table(settings: StudySettings) -> LatencyTable | None:
    """The times that a cost of latency goes by."""
    return read_table(settings.table) if settings.cost == "latency" else None


def trial_provenance(settings: StudySettings, compute: Compute, data: SceneData, dense_key: str) -> dict[str, Any]:
    """Where a point of this process comes from."""
    return provenance(
        compute, study=settings.study, dense=dense_key, data_hash=data.store.data_hash, seed=settings.seed
    )
