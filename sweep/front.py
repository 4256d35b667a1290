"""The front, its hypervolume and the choice of one point: pure functions of arrays and records."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A figure of points that a choice can go by.

    Attributes:
        key: Its name in the records.
        name: Its name for people.
        unit: What follows its number.
    """

    key: str
    name: str
    unit: str = ""


MACS_SHARE = Cost(key="macs_ratio", name="MACs share")
MACS = Cost(key="macs", name="number of MACs")


def choose(
    points: Sequence[Mapping[str, Any]],
    *,
    cost: Cost = MACS_SHARE,
    at_most: float | None = None,
    min_accuracy: float | None = None,
    point: str | None = None,
) -> Mapping[str, Any]:
    """Return one point by what is asked of it; exactly one of the three must be given.

    Only validation accuracy is looked at, and but for a choice by name only the front of accuracy and this cost.

    Args:
        points: records with `point`, `val_accuracy` and the cost's key, such as the points of front.json. Those
            without that key were not measured for it and cannot be chosen by it.
        cost: what makes a point cheap.
        at_most: the most accurate point that costs at most this, above 0; a MACs share is at most 1.
        min_accuracy: the cheapest point at least this accurate on the validation images, in [0, 1].
        point: the point of this name.

    Raises:
        SettingsError: not exactly one was given, it is out of range, or no point fits; the message then names
            the nearest that there is.
    """
    asked = {f"a {cost.name} of at most": at_most, "min_accuracy": min_accuracy, "point": point}
    given = [f"{name} {value!r}" for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise SettingsError(
            f"a point is chosen by exactly one of {', '.join(asked)}, but {' and '.join(given) or 'none'} was "
            "given; give one"
        )
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise SettingsError(f"min_accuracy is a share from 0 to 1 (25 % is 0.25), but {min_accuracy!r} was given")
    if at_most is not None and not 0 <= at_most <= (1 if cost is MACS_SHARE else np.inf):
        expected = "a share from 0 to 1 (25 % is 0.25)" if cost is MACS_SHARE else "a number from 0 up"
        raise SettingsError(f"a {cost.name} is {expected}, but {at_most!r} was given")
    if not points:
        raise SettingsError("the study has no finished point to choose from; let a trial finish first")
    if point is not None:
        return _named(points, point)
    known = [each for each in points if cost.key in each]
    if not known:
        raise SettingsError(
            f"no point of the study has a {cost.name}: its files for the board were never measured; run the study "
            "again with --board front, or choose by MACs"
        )
    front = on_front([each[cost.key] for each in known], [each["val_accuracy"] for each in known])
    # On a front the dearer point is the more accurate one.
    ranked = sorted((each for each, good in zip(known, front, strict=True) if good), key=lambda each: each[cost.key])
    if at_most is not None:
        fitting = [each for each in ranked if each[cost.key] <= at_most]
        if fitting:
            return fitting[-1]
        raise SettingsError(
            f"no point has a {cost.name} of at most {at_most:.4g}{cost.unit}; the cheapest is "
            f"{_shown(ranked[0], cost)}: allow more, or run trials with a smaller budget"
        )
    fitting = [each for each in ranked if each["val_accuracy"] >= (min_accuracy or 0.0)]
    if fitting:
        return fitting[0]
    raise SettingsError(
        f"no point has a validation accuracy of {min_accuracy:.4g} or more; the most accurate is "
        f"{_shown(ranked[-1], cost)}: ask for less, or run trials with a larger budget"
    )


def _named(points: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the point of this name."""
    by_name = {str(each["point"]): each for each in points}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.0)
    raise SettingsError(
        f"there is no point {name!r} among the {len(by_name)} of this study; the nearest name is "
        f"{_shown(by_name[near[0]], MACS_SHARE)}"
    )


def _shown(point: Mapping[str, Any], cost: Cost) -> str:
    return f"{point['point']} ({cost.name} {point[cost.key]:.4g}{cost.unit}, accuracy {point['val_accuracy']:.4f})"


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
