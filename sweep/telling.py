"""A study's points on their way to MLflow: each told once a session, the same whoever was finished first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.board import MEASURED
from sweep.points import places_of
from sweep.polish import polished_name, to_polish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.settings import StudySettings
    from sweep.tracking.tracker import Tracker


class Telling:
    """Tells a tracker of points, and of their files for the board.

    Points are polished side by side and end in any order, but their steps, hypervolumes and the name of their trial's
    run must not depend on it. So a trial's polished points are told together, once none of them is still to come.

    Args:
        settings: The study's.
        tracker: MLflow.
    """

    def __init__(self, settings: StudySettings, tracker: Tracker) -> None:
        self._settings = settings
        self._tracker = tracker
        self._told: set[str] = set()
        self._measured: set[str] = set()
        self._to_come: dict[str, str] = {}
        """Trials of the polished points that are still to come, by point."""

    def __contains__(self, name: str) -> bool:
        """Whether the point of this name has been told."""
        return name in self._told

    def expect(self, front: Mapping[str, Any]) -> None:
        """Take from a front object which polished points are still to come."""
        epochs = self._settings.polish_epochs
        points = to_polish(self._settings, front)
        self._to_come = {polished_name(point["point"], epochs): point["trial"] for point in points}

    def tell(self, points: Sequence[Mapping[str, Any]], *, rest: bool = False) -> None:
        """Tell what is new of points.

        Args:
            points: Among them all of a trial or none.
            rest: Whether to wait no more for what is to come: what the front shows must be in MLflow.
        """
        if rest:
            self._to_come.clear()
        for point in points:
            self._to_come.pop(point["point"], None)
        unfinished = set(self._to_come.values())
        measured = {point["point"] for point in points if MEASURED in point}
        for name, place in places_of(points, self._settings.budgets).items():
            if place.polished and place.trial in unfinished and name not in self._told:
                continue
            step = self._settings.steps(place.budgets) + place.polished
            path = self._settings.directory / "points" / name
            if name not in self._told:
                self._tracker.point(
                    place.trial, path, step=step, hypervolume=place.hypervolume, smallest=place.smallest
                )
                self._told.add(name)
            if name in measured - self._measured:
                self._tracker.board(place.trial, path, step=step)
                self._measured.add(name)
