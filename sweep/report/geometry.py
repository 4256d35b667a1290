"""Where things lie on a chart of accuracy over cost: the ends of its axes, the staircase of a front, labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_NARROWEST = 0.04  # the accuracy axis never spans less, lest noise look like a result
_DEEPEST = 0.35  # a point of the front this far below the best need not be within the axes


def cost_range(least: float, high: float) -> tuple[float, float]:
    """Return the ends of a cost axis: the label to the left of its cheapest point has room, on a phone as well."""
    room = 0.16
    return float(least * (least / high) ** (room / (1 - room))), high


def accuracy_range(
    everything: NDArray[np.float64], best: NDArray[np.float64], dense: Sequence[float]
) -> tuple[float, float]:
    """Return the accuracies between which the axis runs: of all points, those of the front, dense networks.

    A trial that collapsed to chance must not press the front into a line, even if nothing cheaper beats it:
    points far below the rest are marked at the edge instead.
    """
    top = max([*dense, *best])
    bottom = min([*dense, *best[best > top - _DEEPEST]])
    spread = max(top - bottom, _NARROWEST)
    lowest = min([bottom, *everything])
    floor = lowest - 0.15 * spread if lowest >= bottom - 1.2 * spread else bottom - 0.6 * spread
    floor = max(0.0, min(floor, top - _NARROWEST))
    room = top - floor
    return floor, min(top + 0.16 * room, 1.0 + 0.06 * room)


def stairs_of(
    costs: NDArray[np.float64], accuracies: NDArray[np.float64], *, floor: float, end: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a front as a staircase, from the axis up to a cost, both (corners,).

    Args:
        costs: Of the front's points, cheap ones first.
        accuracies: Theirs.
        floor: Where the axis begins.
        end: Where the staircase ends, if the dearest point costs no more.
    """
    end = max(end, float(costs[-1]))
    lowest = min(floor, accuracies[0])
    return np.append(np.repeat(costs, 2), end), np.concatenate([[lowest], np.repeat(accuracies, 2)])


def labelled(
    order: Iterable[int],
    costs: NDArray[np.float64],
    accuracies: NDArray[np.float64],
    *,
    width: float,
    height: float,
) -> list[int]:
    """Return the points that a label fits beside, even on a phone.

    Args:
        order: Those that are worth one, the most telling first.
        costs: Of all points.
        accuracies: Theirs.
        width: Of the cost axis, as a logarithm.
        height: Of the accuracy axis.
    """
    chosen: list[int] = []
    for index in order:
        near = (
            abs(math.log(costs[index] / costs[other])) < 0.14 * width
            and abs(accuracies[index] - accuracies[other]) < 0.045 * height
            for other in chosen
        )
        if not any(near):
            chosen.append(index)
    return chosen
