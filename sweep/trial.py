"""One trial: from the dense network to finished points on disk."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.util import get_node_ip_address

from nasprune.artifact import data_record, read_artifact, write_artifact
from nasprune.progress import Progress
from nasprune.record import OF_DENSE, Record, read_record
from nasprune.session import Session
from sweep.cluster.preflight import NodeError
from sweep.points import volume
from sweep.settings import settings_hash
from sweep.start import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sweep.settings import StudySettings
    from sweep.storage.ground import Ground


LAST_TRY = "last_try"
"""Of a trial's configuration: true once an error of its own has ended it before."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def run_trial(config: dict[str, Any], *, settings: StudySettings, ground: Ground) -> None:
    """Run a trial on a node: `descend`, under `telling_errors`."""
    telling_errors(descend, config, settings=settings, ground=ground)


def telling_errors(work: Callable[..., None], config: Mapping[str, Any], **given: object) -> None:
    """Tell a trial's own errors from deaths, which Ray counts together.

    An error is raised, so that another process tries once more; the last time it is reported as `error`, with
    `finished` False. One of the node, which other trials would meet there too, is reported at once, with `node_error`
    True.

    Args:
        work: Does the trial's work, and reports it.
        config: As `work` takes it, and `last_try`.
        given: What else it takes.
    """
    try:
        work({key: value for key, value in config.items() if key != LAST_TRY}, **given)
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        if of_the_node(error):
            place = f"trial {config['trial']} cannot go on on node {get_node_ip_address()}"  # type: ignore[no-untyped-call]
            reason = f"{place}: {reason}; mend that node or take it away, then give the same command again"
        elif not config.get(LAST_TRY):
            raise
        tune.report({"trial": config["trial"], "finished": False, "error": reason, "node_error": of_the_node(error)})


def of_the_node(error: BaseException | None) -> bool:
    """Whether an error comes from the node it happened on: other code there, or a disk that takes nothing more."""
    while error is not None:
        if isinstance(error, NodeError) or (isinstance(error, OSError) and error.errno in _NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


def descend(config: dict[str, Any], *, settings: StudySettings, ground: Ground) -> None:
    """Descend through the trial's budgets; write each point, then report it.

    Every epoch reports `phase`, `budget`, `epoch`, `epochs`, `step` and its metrics. Every point reports its name as
    `point`, its measures, how many `points` the trial has by now, and their `hypervolume`, the one figure that trials
    are compared by. `finished` is True only with a trial's last point, `went_on` only where a point is told again whose
    trial had begun the next budget.

    A trial that was stopped goes on from its last point and the checkpoint after it.

    Args:
        config: `trial` (its name in the study), `budget` in mode target, and explored search settings.
        settings: The study's. Where its storage is on this node they find out here.
        ground: What all trials share.
    """
    trial, budgets = config["trial"], settings.budgets_of(config)
    explored = {key: value for key, value in config.items() if key not in ("trial", "budget")}
    names = [point_name(trial, budget) for budget in budgets]
    storage, directory = settings.place(), settings.directory / "points"
    points, kept = f"{settings.study}/points", f"{settings.study}/trials/{trial}"
    there = [storage.fetch_folder(f"{points}/{name}") for name in names]
    done = there.index(False) if False in there else len(names)
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

    if done == len(budgets):  # killed between writing a point and clearing up behind it
        storage.remove(kept)
    else:
        storage.fetch_files(kept)
        for name in names[:done]:
            storage.remove(f"{kept}/{name}")
    if records:  # what was reported before the kill is known no more
        report_point(went_on=done < len(budgets) and (checkpoints / names[done]).exists())
    if done == len(budgets):
        return
    begun = start(settings, ground, settings.descent_settings(explored))

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

    identity = settings_hash({"config": config, "settings": settings.identity(), "dense": ground.dense})

    def session(budget: float) -> Session:
        directory = checkpoints / point_name(trial, budget)
        return Session(directory, report_epoch, identity=identity, kept=storage.store_path)

    last = read_artifact(directory / names[done - 1]) if done else None
    reached = (last.network, last.record["widths"]) if last else None
    for pruned in begun.descent.through(budgets[done:], session, reached=reached):
        name = names[len(records)]
        record = {
            **{key: begun.dense.record[key] for key in OF_DENSE},
            "point": name,
            "trial": trial,
            **pruned.measures(begun.data.classes),
            "polish_epochs": 0,
            "settings": {"study": settings.as_json(), "explored": explored},
            "data": data_record(settings.data_settings()),
            "provenance": begun.origin,
        }
        write_artifact(directory / name, pruned.network, record)
        storage.store_folder(f"{points}/{name}")
        storage.remove(f"{kept}/{name}")
        records.append(record)
        report_point()
    storage.remove(kept)


def point_name(trial: str, budget: float) -> str:
    """A point's name in its study: the trial and the budget in percent."""
    return f"{trial}-{budget * 100:g}pct"


def _numbers(record: Record) -> dict[str, float]:
    return {key: value for key, value in record.items() if isinstance(value, int | float)}
