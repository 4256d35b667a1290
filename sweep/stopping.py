"""Early stopping: at every budget only the best descents go on. What was reached before is read from the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ray.tune import Stopper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def goes_on(value: float, before: Sequence[float], reduction_factor: float) -> bool:
    """Tell whether a trial is worth its next budget.

    Asynchronous successive halving (Li et al. 2020): it goes on unless it lies below the best
    1 / reduction_factor of those that were as far before it. The first one always goes on.

    Args:
        value: hypervolume of the trial's points at this budget; more is better.
        before: those of the other trials that have reached it.
        reduction_factor: at least 1, which stops none.
    """
    if not before or reduction_factor == 1:
        return True
    return value >= float(np.quantile(before, 1 - 1 / reduction_factor))


class BudgetStopper(Stopper):
    """Stops trials of Ray Tune between two budgets.

    Ray's own scheduler of this kind forgets what it compared when a sweep is resumed; this one begins with what lies
    on disk. A trial is only ever compared with trials at the same budget.

    Args:
        reduction_factor: See `goes_on`.
        reached: Hypervolume after the first, second, ... budget of trials that were there before this session.
    """

    def __init__(self, reduction_factor: float, reached: Mapping[str, Sequence[float]]) -> None:
        self._reduction_factor = reduction_factor
        self._reached = {trial: list(values) for trial, values in reached.items()}
        self._went_on: set[tuple[str, int]] = set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this result."""
        if "points" not in result or result["finished"]:
            return False
        trial, place = result["trial"], int(result["points"]) - 1
        values = self._reached.setdefault(trial, [])
        values[place:] = [float(result["hypervolume"])]
        if result["went_on"] or (trial, place) in self._went_on:
            return False  # told again after a kill or a failure; it was judged then
        others = [v[place] for name, v in self._reached.items() if name != trial and len(v) > place]
        if not goes_on(values[place], others, self._reduction_factor):
            return True
        self._went_on.add((trial, place))
        return False

    def stop_all(self) -> bool:
        """Never: the searcher knows when the study is over."""
        return False
