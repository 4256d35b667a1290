"""The points folder is the truth: the front is taken from what lies there, as often as one likes."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.confusion import class_results
from nasprune.record import RECORD, board_figures, board_machine, read_record
from sweep.front import hypervolume, on_front

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from nasprune.artifact import Artifact

KEYS = (
    "point", "trial", "network", "dataset", "budget", "cost", "cost_ratio", "macs", "macs_ratio", "params",
    "recalibrated_val_accuracy", "val_accuracy", "test_accuracy", "worst_class_test_accuracy", "widths",
    "polish_epochs",
)  # fmt: skip
_OF_DENSE = (
    "network", "dataset", "image_size", "val_images", "macs", "params", "val_accuracy", "test_accuracy",
    "worst_class_test_accuracy",
)  # fmt: skip


class PointsFolder:
    """What lies in a study's folder of points, each read once: a point that was written never changes.

    What files for the board measure comes later, and is looked for whenever the folder is read.

    Args:
        study: The study's folder.
        dense: The dense network.
    """

    def __init__(self, study: Path, dense: Artifact) -> None:
        self._study = study
        self._dense = dense
        self._points: dict[str, dict[str, Any]] = {}
        """By name."""
        self._by_class: dict[str, dict[str, Any]] = {}
        """How each class fares, by point."""
        self._order: list[dict[str, Any]] = []
        """From dear to cheap."""
        self._trials: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._best: list[dict[str, Any]] | None = None
        """Those on the front, where that is known: most new points change nothing of it."""

    def read(self) -> None:
        """Make sure that all that lies there, and nothing else, is known.

        Raises:
            ArtifactError: if a point cannot be read.
        """
        there = {path.parent.name for path in (self._study / "points").glob(f"[!.]*/{RECORD}")}
        for name in self._points.keys() - there:
            gone = self._points.pop(name)
            del self._by_class[name]
            self._order.remove(gone)
            self._trials[gone["trial"]].remove(gone)
            self._best = None
        for name in there:
            self.add(name).update(_on_board(self._study / "points" / name))

    def add(self, name: str) -> dict[str, Any]:
        """The point of this name as the front object holds it, read if it is not known.

        Raises:
            ArtifactError: if it cannot be read.
        """
        if name not in self._points:
            record = read_record(self._study / "points" / name)
            point = {key: record[key] for key in KEYS} | {"artifact": f"points/{record['point']}", "on_front": False}
            self._points[name] = point
            self._by_class[name] = _by_class(record)
            self._trials[point["trial"]].append(point)
            if not any(_beats(other, point) for other in self._best or ()):
                self._best = None
            bisect.insort(self._order, point, key=lambda p: (-p["macs_ratio"], p["point"]))
        return self._points[name]

    def front(self, run_ids: Mapping[str, str]) -> dict[str, Any]:
        """The front object of the points that are known; of dense and the front it says how each class fares.

        Args:
            run_ids: MLflow run of each trial; a point's is None as long as MLflow has not been told of its trial.
        """
        self.best()
        for point in self._order:
            point["run_id"] = run_ids.get(point["trial"])
        dense = {key: self._dense.record[key] for key in _OF_DENSE} | _on_board(self._dense.directory)
        dense["by_class"] = _by_class(self._dense.record)
        points = [
            point | {"by_class": self._by_class[point["point"]]} if point["on_front"] else point
            for point in self._order
        ]
        return {"study": self._study.name, "dense": dense, "points": points}

    def best(self) -> Sequence[Mapping[str, Any]]:
        """The known points that are on the front; each point now says whether it is."""
        if self._best is None:
            points = self._order
            good = on_front([p["macs_ratio"] for p in points], [p["val_accuracy"] for p in points])
            for point, is_good in zip(points, good.tolist(), strict=True):
                point["on_front"] = is_good
            self._best = [point for point in points if point["on_front"]]
        return self._best

    def of_trial(self, trial: str) -> Sequence[Mapping[str, Any]]:
        """The known points of a trial."""
        return self._trials[trial]

    def __len__(self) -> int:
        """How many points are known."""
        return len(self._points)


def _on_board(directory: Path) -> dict[str, Any]:
    """What files for the board measure, and on which machine."""
    figures = board_figures(directory)
    return {**figures, "board_machine": board_machine(directory)} if figures else {}


def _by_class(record: Mapping[str, Any]) -> dict[str, Any]:
    results = class_results(record["test_confusion"])
    return {name: dataclasses.asdict(result) for name, result in results.items()}


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    cheaper, better = other["macs_ratio"] - one["macs_ratio"], one["val_accuracy"] - other["val_accuracy"]
    return bool(min(cheaper, better) >= 0 < max(cheaper, better))


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
        polished: Of a polished point, how many epochs after the trial's own; else 0. As if all budgets were polished an
            epoch in turn: it follows from the settings, whichever points are polished and in whatever order they end.
        hypervolume: Of the trial's points up to this one.
        smallest: Least share of the MACs among them.
    """

    trial: str
    budgets: tuple[float, ...]
    polished: int
    hypervolume: float
    smallest: float


def places_of(points: Iterable[Mapping[str, Any]], budgets: Sequence[float]) -> dict[str, Place]:
    """The place of every point, by point: descents from the largest budget down, then polished points likewise.

    Args:
        points: All points of a trial, or none.
        budgets: The study's.
    """
    falling = sorted(budgets, reverse=True)
    order = sorted(points, key=lambda p: (p["trial"], p["polish_epochs"], -p["budget"]))
    places: dict[str, Place] = {}
    for trial, points in itertools.groupby(order, key=lambda p: p["trial"]):
        before: list[Mapping[str, Any]] = []
        for point in points:
            before.append(point)
            places[point["point"]] = Place(
                trial=trial,
                budgets=tuple(p["budget"] for p in before if not p["polish_epochs"]),
                polished=_turn(point, falling),
                hypervolume=volume(before, budgets),
                smallest=min(p["macs_ratio"] for p in before),
            )
    return places


def _turn(point: Mapping[str, Any], falling: Sequence[float]) -> int:
    """The last epoch of a polished point, where all budgets take turns; 0 of any other."""
    epochs = int(point["polish_epochs"])
    return (epochs - 1) * len(falling) + falling.index(point["budget"]) + 1 if epochs else 0


def volumes_reached(front: Mapping[str, Any], budgets: Sequence[float]) -> dict[str, list[float]]:
    """For each trial of a front object, the hypervolume after its first, second, ... budget."""
    descended = [point for point in front["points"] if not point["polish_epochs"]]
    reached: dict[str, list[float]] = {}
    for place in places_of(descended, budgets).values():
        reached.setdefault(place.trial, []).append(place.hypervolume)
    return reached
