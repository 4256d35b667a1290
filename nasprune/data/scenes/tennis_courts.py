"""Tennis courts, in ones and in rows."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, Colour, shade
from nasprune.data.scenes.shapes import Floats, box, pairs
from nasprune.data.scenes.things import cars, clumps, flat_roof, houses, road, spots, trees

_SURFACES: tuple[Colour, ...] = (
    (74, 122, 88),
    (62, 98, 150),
    (176, 98, 72),
    (88, 130, 96),
    (120, 132, 128),
    (70, 116, 132),
)


def tennis_courts(canvas: Canvas) -> None:
    """Draw one to eight courts behind a fence, among trees, houses or car parks."""
    rng, reach = canvas.rng, canvas.reach
    _neighbours(canvas)
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    across, along = rng.uniform(15.5, 18.5), rng.uniform(33, 37)
    x, y = middle = rng.uniform(-0.3, 0.3, 2) * reach
    around, surface = (_SURFACES[i] for i in rng.integers(len(_SURFACES), size=2))
    if rng.random() < 0.3:
        surface = shade(around, rng.uniform(0.85, 1.15))
    fence = box(x, y, columns * across + 3, rows * along + 2)
    canvas.lay((shade(around, 0.94), shade(around, 1.06)), fence)
    canvas.stroke(np.vstack([fence, fence[:1]]), 0.5, shade(around, 0.5))
    for column in np.arange(columns) - (columns - 1) / 2:
        for row in np.arange(rows) - (rows - 1) / 2:
            _court(canvas, middle + np.array([column * across, row * along]), surface)
    count = int(rng.integers(4, 30))
    side = rng.integers(4, size=count)
    edge = fence[side] + (fence[(side + 1) % 4] - fence[side]) * rng.random((count, 1))
    outward = (edge - middle) / np.linalg.norm(edge - middle, axis=1, keepdims=True)
    trees(canvas, edge + outward * rng.uniform(4, 9, (count, 1)), rng.uniform(1.5, 3.5, count))


def _court(canvas: Canvas, at: Floats, colour: Colour) -> None:
    """Draw one court, 23.77 m by 10.97 m, around a place (2,)."""
    canvas.polygon(box(at[0], at[1], 10.97, 23.77), colour)
    lines = [((x, -11.9), (x, 11.9)) for x in (-5.49, -4.12, 4.12, 5.49)]
    lines += [((-half, y), (half, y)) for y, half in ((-11.9, 5.5), (-6.4, 4.1), (6.4, 4.1), (11.9, 5.5))]
    lines += [((0.0, -6.4), (0.0, 6.4))]
    for line in lines:
        canvas.stroke(at + np.array(line), 0.3, PAINT)
    net = at + np.array([[-6.4, 0.0], [6.4, 0.0]])
    canvas.stroke(net + canvas.sun, 0.5, (30, 34, 38), opacity=0.6)
    canvas.stroke(net, 0.35, (220, 220, 220))


def _neighbours(canvas: Canvas) -> None:
    """Draw what lies around tennis courts."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    clumps(canvas, int(rng.integers(0, 12)))
    if kind < 0.35:
        count = int(rng.integers(3, 12))
        angles = rng.choice([0.0, math.pi / 2], count)
        at = spots(canvas, count)
        houses(canvas, at, rng.uniform(9, 16, count), rng.uniform(8, 11, count), angles)
    elif kind < 0.6:
        y = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 0.8) * reach
        canvas.polygon(box(0.0, y, 2.4 * reach, 20), canvas.palette.asphalt)
        x = np.arange(-reach, reach, 2.7)
        cars(canvas, pairs(x[rng.random(len(x)) < 0.6], y - 5), math.pi / 2)
    elif kind < 0.8:
        road(canvas, [[-1.2 * reach, 0.8 * reach], [1.2 * reach, 0.7 * reach]], 7.0, traffic=3.0)
    elif kind < 0.9:
        flat_roof(canvas, box(0.6 * reach, 0.6 * reach, 40, 26), canvas.palette.concrete)
