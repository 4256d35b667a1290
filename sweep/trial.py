"""One trial: from the dense network to a finished point on disk."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from ray import tune

from nasprune.artifact import Record, data_record, read_record, write_artifact
from nasprune.compute import choose_compute
from nasprune.data import load
from nasprune.dense import obtain_dense
from nasprune.errors import DataError
from nasprune.progress import Progress, Session
from nasprune.provenance import provenance
from nasprune.pruning import prune
from sweep.settings import settings_hash

if TYPE_CHECKING:
    from sweep.settings import StudySettings


def run_trial(config: dict[str, Any], *, settings: StudySettings, dense_key: str) -> None:
    """Prune for the configuration's budget; write the point, then report it.

    Every epoch reports `phase`, `epoch`, `epochs` and its metrics, with `finished: False`; the last report has
    `finished: True` and the point's measures. A trial that was stopped goes on from its checkpoint, and one
    whose point is already there writes nothing.

    Args:
        config: `trial` (its name in the study), `budget`, and explored search settings.
        settings: The study's, with absolute paths that hold on every node.
        dense_key: Which dense network all trials share; must be the one these settings lead to.
    """
    trial, budget = config["trial"], config["budget"]
    explored = {key: value for key, value in config.items() if key not in ("trial", "budget")}
    point = point_name(trial, budget)
    target = settings.directory / "points" / point
    if target.exists():  # killed between writing the point and reporting it
        tune.report({"finished": True, "point": point, **_numbers(read_record(target))})
        return
    shared = settings.storage / "shared"
    compute = choose_compute(settings.device, threads=settings.cpus_per_trial)
    data = load(settings.data_settings(), shared / "data")
    dense = obtain_dense(shared / "dense", settings.dense_settings(len(data.classes)), data, compute)

    if dense.directory.name != dense_key:
        raise DataError(
            f"the images of study '{settings.study}' changed while it ran: its dense network was {dense_key}, "
            f"these images lead to {dense.directory.name}; start another study on them"
        )

    def report(progress: Progress) -> None:
        tune.report(
            {
                "finished": False,
                "phase": progress.phase,
                "epoch": progress.epoch,
                "epochs": progress.epochs,
                "step": progress.epoch + (settings.search_epochs if progress.phase == "tune" else 0),
                **{f"{progress.phase}_{name}": value for name, value in progress.metrics.items()},
            }
        )

    checkpoints = settings.directory / "trials" / trial
    prune_settings = settings.prune_settings(explored)
    identity = settings_hash({"config": config, "settings": settings.identity(), "dense": dense_key})
    session = Session(checkpoints, report, identity=identity)
    pruned = prune(dense, data, budget, prune_settings, compute, seed=settings.seed, session=session)
    record = {
        **{key: dense.record[key] for key in ("network", "head", "dataset", "classes", "image_size", "statistics")},
        "point": point,
        "trial": trial,
        "budget": budget,
        **pruned.measures(),
        "settings": {"study": settings.as_json(), "explored": explored},
        "data": data_record(settings.data_settings()),
        "provenance": provenance(
            compute, study=settings.study, dense=dense_key, data_hash=data.store.data_hash, seed=settings.seed
        ),
    }
    write_artifact(target, pruned.network, record)
    shutil.rmtree(checkpoints, ignore_errors=True)
    tune.report({"finished": True, "point": point, **_numbers(record)})


def point_name(trial: str, budget: float) -> str:
    """A point's name in its study: the trial and the budget in percent."""
    return f"{trial}-{budget * 100:g}pct"


def _numbers(record: Record) -> dict[str, float]:
    return {key: value for key, value in record.items() if isinstance(value, int | float)}
