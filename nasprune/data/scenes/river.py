"""The river: water that winds through land."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import SHADE, shade
from nasprune.data.scenes.shapes import Floats, height_at, moved, pairs, wander
from nasprune.data.scenes.things import boats, clumps, houses, road, spots, trees


def river(canvas: Canvas) -> None:
    """Draw a river with land on both banks; sometimes a bridge, sandbanks, boats."""
    rng, reach, palette = canvas.rng, canvas.reach, canvas.palette
    width = rng.uniform(0.16, 0.42) * canvas.metres
    offset, swing = rng.uniform(-0.2, 0.2) * reach, rng.uniform(0.05, 0.32)
    line = wander(rng, reach, offset, swing=swing, turns=(0.6, 1.8))
    _valley(canvas, line, width)
    knots = np.linspace(-1.2 * reach, 1.2 * reach, 6)
    half = 0.5 * width * (1 + 0.25 * np.interp(line[:, 0], knots, rng.normal(0, 0.7, 6)))
    bank = rng.uniform(1.0, 7.0)
    canvas.lay(palette.soil if rng.random() < 0.6 else palette.sand, _band(line, half + bank))
    canvas.lay(palette.water, _band(line, half))
    if rng.random() < 0.3:
        _sandbanks(canvas, line, width)
    x = rng.uniform(-reach, reach, int(rng.integers(10, 110)))
    away = 0.58 * width + bank + np.abs(rng.normal(0, 6, len(x)))
    trees(
        canvas,
        pairs(x, height_at(line, x) + rng.choice([-1.0, 1.0], len(x)) * away),
        rng.uniform(1.5, 4.5, len(x)),
    )
    if rng.random() < 0.25:
        middle, lean = rng.uniform(-0.5, 0.5) * reach, rng.uniform(-20, 20)
        deck = np.array([[middle, -1.3 * reach], [middle + lean, 1.3 * reach]])
        canvas.stroke(deck + canvas.sun * 5, 10.0, SHADE, opacity=0.4)
        road(canvas, deck, rng.uniform(6, 10), traffic=3.0)
    if rng.random() < 0.2:
        at = rng.choice(line, 2, replace=False)
        boats(canvas, at, rng.uniform(6, 14, 2), rng.uniform(-0.5, 0.5, 2))


def _band(line: Floats, half: Floats) -> Floats:
    """Return the outline of all within `half` (points,) metres above and below a line (points, 2)."""
    return np.vstack([moved(line, 0.0, half), moved(line, 0.0, -half)[::-1]])


def _sandbanks(canvas: Canvas, line: Floats, width: float) -> None:
    """Draw one to three banks of sand in the river."""
    rng = canvas.rng
    angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    for _ in range(int(rng.integers(1, 4))):
        at = rng.choice(line) + rng.normal(0, 0.2 * width, 2)
        length, breadth = rng.uniform(8, 30), rng.uniform(0.05, 0.2) * width
        canvas.lay(canvas.palette.sand, at + pairs(np.cos(angles) * length, np.sin(angles) * breadth))


def _valley(canvas: Canvas, line: Floats, width: float) -> None:
    """Draw the land a river runs through: meadows, wood, bare fields or a few houses along a road."""
    rng, kind = canvas.rng, canvas.rng.random()
    if kind < 0.3:
        floor = [shade(colour, 0.75) for colour in canvas.palette.foliage]
        canvas.cover((floor[0], floor[1]))
        at = spots(canvas, 260)
        trees(canvas, at, rng.uniform(2.5, 5.0, len(at)))
    elif kind < 0.5:
        far = 1.5 * canvas.reach
        canvas.lay(canvas.palette.soil, [[-far, 0.0], [far, 0.0], [far, far], [-far, far]])
    elif kind < 0.75:
        side = rng.choice([-1, 1])
        path = moved(line, 0.0, side * (width / 2 + rng.uniform(18, 30)))
        road(canvas, path, 6.0, traffic=2.0)
        row = moved(path[:: int(rng.integers(1, 4))], 0.0, side * 14.0)
        count = len(row)
        houses(canvas, row, rng.uniform(9, 16, count), rng.uniform(8, 11, count), rng.normal(0, 0.4, count))
    clumps(canvas, int(rng.integers(0, 10)))
