"""The front and its hypervolume: pure functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasprune.errors import SettingsError


def on_front(cost: ArrayLike, accuracy: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points no other point beats.

    A point is beaten by one that costs no more and is no less accurate, and better in one of the two. Of points
    that are equal in both, the first stands for all.

    Args:
        cost: what each point costs, (N,), in any unit; less is better.
        accuracy: validation accuracy of each, (N,); more is better.

    Returns:
        True for the points of the front, (N,).

    Raises:
        SettingsError: if the two differ in length, or hold what is not a finite number.
    """
    costs, accuracies = _columns(cost, accuracy)
    # From cheap to dear, of equal cost the most accurate first, of equal points in their own order (the sort is
    # stable): then a point is on the front if it is more accurate than all before it.
    order = np.lexsort((-accuracies, costs))
    ranked = accuracies[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(ranked)[:-1]])
    front = np.zeros(len(costs), dtype=bool)
    front[order] = ranked > best_before[: len(ranked)]
    return front


def hypervolume(cost: ArrayLike, accuracy: ArrayLike, *, floor: float) -> float:
    """Return the mean accuracy that the points offer, over all costs from `floor` to dense on a logarithmic axis.

    It is the area that the points beat, with log(cost) and accuracy as axes and the corner (as dear as dense, never
    right) as reference, divided by the area of the whole rectangle between `floor` and 1. So every halving of the
    cost counts as much as any other, and the value lies in [0, 1]: 0 with no point at all, 1 for a network that
    costs no more than `floor` and is always right. It grows whenever the front does, and never shrinks as points are
    added, which makes it an honest measure of an unfinished descent: what is not reached yet counts as 0.

    Args:
        cost: share of the dense network's cost, (N,), above 0. A cost below `floor` counts as `floor`.
        accuracy: validation accuracy, (N,), in [0, 1].
        floor: the smallest cost that counts, in (0, 1), such as the smallest budget.

    Raises:
        SettingsError: if the two differ in length, or hold what is not a finite number, or the floor is not in (0, 1).
    """
    if not 0 < floor < 1:
        raise SettingsError(f"hypervolume floor {floor:g} given; expected a share of the dense cost above 0, below 1")
    costs, accuracies = _columns(cost, accuracy)
    inside = on_front(costs, accuracies) & (costs < 1) & (accuracies > 0)
    order = np.argsort(costs[inside])
    logs = np.log(np.maximum(costs[inside][order], floor))
    # Each point owns the strip from itself to the next dearer one, as high as it is accurate.
    right = np.append(logs[1:], 0.0)
    return float(np.sum((right - logs) * accuracies[inside][order]) / -np.log(floor))


def _columns(cost: ArrayLike, accuracy: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as (N,) arrays of finite numbers."""
    costs, accuracies = np.asarray(cost, np.float64), np.asarray(accuracy, np.float64)
    if costs.ndim != 1 or costs.shape != accuracies.shape:
        raise SettingsError(
            f"a front needs one cost and one accuracy a point, but shapes {costs.shape} and {accuracies.shape} "
            "were given"
        )
    for name, column in (("cost", costs), ("accuracy", accuracies)):
        if not np.isfinite(column).all():
            first = int(np.flatnonzero(~np.isfinite(column))[0])
            raise SettingsError(
                f"the {name} of point {first} is {column[first]}; only finished, measured points can be compared"
            )
    return costs, accuracies
