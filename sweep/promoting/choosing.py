"""One point by what is asked of it: a pure function of records."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.errors import SettingsError
from sweep.front import on_front
from sweep.report.view import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A figure of points that a choice can go by.

    Attributes:
        key: Its name in the records.
        name: Its name for people.
        shown: Its number for people, with its unit, in as many digits as tables of points show.
        accuracy: The name of the validation accuracy that belongs to it. Points without it count with their network's.
    """

    key: str
    name: str
    shown: Callable[[float], str]
    accuracy: str = "val_accuracy"

    def accuracy_of(self, point: Mapping[str, Any]) -> float:
        """Return the validation accuracy that a point offers for its cost, in 0..1."""
        return float(point.get(self.accuracy, point["val_accuracy"]))


def _share(share: float, digits: int = 1) -> str:
    """Return a share as flags take it, rounded as tables round its per cent."""
    return f"{round(100 * share, digits) / 100:.{2 + digits}f}"


def _accuracy(accuracy: float) -> str:
    return _share(accuracy, 2)


MACS_SHARE = Cost(key="macs_ratio", name="MACs share", shown=_share)
MACS = Cost(key="macs", name="number of MACs", shown=count)


def choose(
    points: Sequence[Mapping[str, Any]],
    *,
    cost: Cost = MACS_SHARE,
    at_most: float | None = None,
    min_accuracy: float | None = None,
    point: str | None = None,
) -> Mapping[str, Any]:
    """Return one point by what is asked of it; exactly one of the three must be given.

    Only validation accuracy is looked at, that of the file whose cost counts, and but for a choice by name only the
    front of accuracy and this cost.

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
    if at_most is not None and not 0 <= at_most <= (1 if cost is MACS_SHARE else math.inf):
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
    ranked = _ranked(known, cost)
    if at_most is not None:
        fitting = [each for each in ranked if each[cost.key] <= at_most]
        if fitting:
            return fitting[-1]
        raise SettingsError(
            f"no point has a {cost.name} of at most {cost.shown(at_most)}; the cheapest is "
            f"{told(ranked[0], cost, at_most=at_most)}: allow more, or run trials with a smaller budget"
        )
    fitting = [each for each in ranked if cost.accuracy_of(each) >= (min_accuracy or 0.0)]
    if fitting:
        return fitting[0]
    raise SettingsError(
        f"no point has a validation accuracy of {_accuracy(min_accuracy or 0.0)} or more; the most accurate is "
        f"{told(ranked[-1], cost, min_accuracy=min_accuracy)}: ask for less, or run trials with a larger budget"
    )


def missed(
    points: Sequence[Mapping[str, Any]],
    *,
    cost: Cost = MACS_SHARE,
    at_most: float | None = None,
    min_accuracy: float | None = None,
) -> Mapping[str, Any] | None:
    """Return the best point of the front that breaks a limit which in tables, which round, reads as its own figure.

    Such a limit was perhaps copied from its row. The arguments are those of `choose`.
    """
    ranked = _ranked([each for each in points if cost.key in each], cost)
    if at_most is not None:
        left = [each for each in ranked if each[cost.key] > at_most]
        return next((each for each in left[::-1] if cost.shown(each[cost.key]) == cost.shown(at_most)), None)
    if min_accuracy is not None:
        left = [each for each in ranked if cost.accuracy_of(each) < min_accuracy]
        return next((each for each in left if _accuracy(cost.accuracy_of(each)) == _accuracy(min_accuracy)), None)
    return None


def told(
    point: Mapping[str, Any], cost: Cost, *, at_most: float | None = None, min_accuracy: float | None = None
) -> str:
    """Return a point in words: its name, cost and accuracy; in all digits what would read as a limit that it breaks."""
    costs = _beside(point[cost.key], at_most, cost.shown)
    accuracy = _beside(cost.accuracy_of(point), min_accuracy, _accuracy)
    return f"{point['point']} ({cost.name} {costs}, accuracy {accuracy})"


def _beside(value: float, limit: float | None, shown: Callable[[float], str]) -> str:
    return f"{shown(value)}, exactly {value}" if limit is not None and shown(value) == shown(limit) else shown(value)


def _ranked(points: Sequence[Mapping[str, Any]], cost: Cost) -> list[Mapping[str, Any]]:
    """Return those on the front, from cheap to dear, which is from the least to the most accurate one."""
    front = on_front([each[cost.key] for each in points], [cost.accuracy_of(each) for each in points])
    return sorted((each for each, good in zip(points, front, strict=True) if good), key=lambda each: each[cost.key])


def _named(points: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the point of this name."""
    by_name = {str(each["point"]): each for each in points}
    if name in by_name:
        return by_name[name]
    longer = [each for each in by_name if each.startswith(name)]
    near = difflib.get_close_matches(name, longer or by_name, n=1, cutoff=0.0)
    raise SettingsError(
        f"there is no point {name!r} among the {len(by_name)} of this study; the nearest name is "
        f"{told(by_name[near[0]], MACS_SHARE)}"
    )
