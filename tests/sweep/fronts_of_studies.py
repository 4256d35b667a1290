"""Fronts of several studies of one data set, as they lie in a storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweep.across import StudyFront
from sweep.front import on_front

SETTINGS = {
    "data_hash": "d" * 64, "split": "stratified", "fractions": [0.75, 0.05, 0.2], "seed": 0, "image_size": 64,
    "bands": "rgb",
}  # fmt: skip


def study_front(
    name: str, macs: int, accuracies: dict[float, float], *, dataset: str = "ucm", network: str = "", **settings: Any
) -> StudyFront:
    """A study with one point for each budget."""
    points = [
        {
            "point": f"t000-{budget * 100:g}pct", "trial": "t000", "network": network or name, "budget": budget,
            "macs": int(macs * budget), "params": int(macs * budget) // 50, "val_accuracy": accuracy,
            "test_accuracy": accuracy - 0.01,
        }
        for budget, accuracy in accuracies.items()
    ]  # fmt: skip
    good = on_front([point["macs"] for point in points], [point["val_accuracy"] for point in points])
    points = [
        point | {"on_front": bool(is_good)} | ({"by_class": {}} if is_good else {})
        for point, is_good in zip(points, good, strict=True)
    ]
    dense = {
        "dataset": dataset, "network": network or name, "val_images": 105, "macs": macs, "params": macs // 50,
        "val_accuracy": 0.95, "test_accuracy": 0.94,
    }  # fmt: skip
    return StudyFront(study=name, front={"dense": dense, "points": points}, settings={**SETTINGS, **settings})


def put(storage: Path, study: StudyFront) -> None:
    """Write what a study leaves."""
    directory = storage / study.study
    directory.mkdir()
    (directory / "front.json").write_text(json.dumps(study.front))
    (directory / "settings.json").write_text(json.dumps(study.settings))


LARGE = study_front("large", 1000, {0.5: 0.96, 0.25: 0.93, 0.1: 0.90})
SMALL = study_front("small", 400, {0.5: 0.94, 0.25: 0.91, 0.1: 0.85})
