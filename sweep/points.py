"""The points folder is the truth: the front is taken from what lies there, as often as one likes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasprune.artifact import RECORD, Record, read_record
from sweep.front import hypervolume, on_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KEYS = (
    "point", "trial", "network", "dataset", "budget", "cost", "cost_ratio", "macs", "macs_ratio", "params",
    "recalibrated_val_accuracy", "val_accuracy", "test_accuracy", "widths", "polish_epochs",
)  # fmt: skip


def take_front(study: Path, dense: Record, run_ids: Mapping[str, str]) -> dict[str, Any]:
    """The front object of a study, from the points in its folder.

    Args:
        study: The study's folder.
        dense: The dense network's record.
        run_ids: MLflow run of each trial, where known.
    """
    records = [read_record(path.parent) for path in sorted((study / "points").glob(f"[!.]*/{RECORD}"))]
    ratios = np.array([record["macs_ratio"] for record in records])
    accuracies = np.array([record["val_accuracy"] for record in records])
    best = on_front(ratios, accuracies) if records else np.array([], dtype=bool)
    points = [
        {
            **{key: record[key] for key in KEYS},
            "artifact": f"points/{record['point']}",
            "run_id": run_ids.get(record["trial"]),
            "on_front": bool(good),
        }
        for record, good in zip(records, best, strict=True)
    ]
    points.sort(key=lambda point: (-point["macs_ratio"], point["point"]))
    keys = ("network", "dataset", "image_size", "macs", "params", "val_accuracy", "test_accuracy")
    return {"study": study.name, "dense": {key: dense[key] for key in keys}, "points": points}


def volume(points: Sequence[Mapping[str, Any]], budgets: Sequence[float]) -> float:
    """Hypervolume of points of a study with these budgets; their cost counts down to the smallest budget."""
    ratios, accuracies = ([point[key] for point in points] for key in ("cost_ratio", "val_accuracy"))
    return hypervolume(ratios, accuracies, floor=min(*budgets, 0.99))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a point stands in its trial.

    Attributes:
        trial: Its trial.
        budgets: That the trial has visited by then.
        polished: How many points of it had been polished, this one included.
        hypervolume: Of the trial's points up to this one.
    """

    trial: str
    budgets: tuple[float, ...]
    polished: int
    hypervolume: float


def places_of(front: Mapping[str, Any], budgets: Sequence[float]) -> dict[str, Place]:
    """The place of every point of a front object, by point, in the order in which trials make them."""
    order = sorted(front["points"], key=lambda p: (p["trial"], p["polish_epochs"], -p["budget"]))
    places: dict[str, Place] = {}
    for trial, points in itertools.groupby(order, key=lambda p: p["trial"]):
        before: list[Mapping[str, Any]] = []
        for point in points:
            before.append(point)
            places[point["point"]] = Place(
                trial=trial,
                budgets=tuple(p["budget"] for p in before if not p["polish_epochs"]),
                polished=sum(p["polish_epochs"] > 0 for p in before),
                hypervolume=volume(before, budgets),
            )
    return places


def volumes_reached(front: Mapping[str, Any], budgets: Sequence[float]) -> dict[str, list[float]]:
    """For each trial of a front object, the hypervolume after its first, second, ... budget."""
    descended = [point for point in front["points"] if not point["polish_epochs"]]
    reached: dict[str, list[float]] = {}
    for place in places_of({**front, "points": descended}, budgets).values():
        reached.setdefault(place.trial, []).append(place.hypervolume)
    return reached
