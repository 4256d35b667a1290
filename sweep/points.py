"""The points folder is the truth: the front is taken from what lies there, as often as one likes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nasprune.artifact import RECORD, Record, read_record
from sweep.front import hypervolume, on_front

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KEYS = (
    "point", "trial", "network", "dataset", "budget", "macs", "macs_ratio", "params",
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
    """Hypervolume of points of a study with these budgets; costs count down to the smallest budget."""
    ratios, accuracies = ([point[key] for point in points] for key in ("macs_ratio", "val_accuracy"))
    return hypervolume(ratios, accuracies, floor=min(*budgets, 0.99))


def volumes_reached(front: Mapping[str, Any], budgets: Sequence[float]) -> dict[str, list[float]]:
    """For each trial of a front object, the hypervolume after its first, second, ... point of a descent."""
    by_trial: dict[str, list[Mapping[str, Any]]] = {}
    descended = [point for point in front["points"] if not point["polish_epochs"]]
    for point in sorted(descended, key=lambda point: -point["budget"]):
        by_trial.setdefault(point["trial"], []).append(point)
    return {
        trial: [volume(points[: count + 1], budgets) for count in range(len(points))]
        for trial, points in by_trial.items()
    }
