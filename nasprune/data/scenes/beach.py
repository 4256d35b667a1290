"""The beach: bands of sea, sand and land along a coast."""

from __future__ import annotations

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import Colour, shade
from nasprune.data.scenes.shapes import Floats, height_at, moved, pairs, wander
from nasprune.data.scenes.things import boats, houses, road, trees

_FOAM: Colour = (236, 240, 240)
_PARASOLS: tuple[Colour, ...] = (
    (196, 60, 52),
    (52, 96, 170),
    (232, 196, 80),
    (240, 240, 240),
    (70, 140, 90),
)


def beach(canvas: Canvas) -> None:
    """Draw the sea with its surf, wet and dry sand, then grass, trees or a promenade."""
    rng, reach, palette = canvas.rng, canvas.reach, canvas.palette
    height, swing = rng.uniform(-0.25, 0.3) * reach, rng.uniform(0.02, 0.14)
    coast = wander(rng, reach, height, swing=swing, turns=(0.5, 2.0))
    width = rng.uniform(0.2, 0.75) * reach
    inland = moved(coast, 0.0, width + rng.normal(0, 0.02 * reach, len(coast)))
    canvas.cover(palette.sand)
    canvas.lay(palette.grass, _bounded(inland, 1.5 * reach))
    _inland(canvas, inland)
    wet = (shade(palette.sand[0], 0.68), shade(palette.sand[1], 0.75))
    canvas.lay(wet, _bounded(moved(coast, 0.0, 3.5), -1.5 * reach))
    canvas.lay(palette.water, _bounded(coast, -1.5 * reach))
    for step, opacity in ((4, 0.28), (9, 0.2), (16, 0.14)):  # the shallows are lighter
        out = moved(coast, 0.0, -step * rng.uniform(0.8, 1.6))
        canvas.polygon(np.vstack([coast, out[::-1]]), shade(palette.water[1], 1.25), opacity=opacity)
    for _ in range(int(rng.integers(0, 5))):
        _breaker(canvas, coast, rng.uniform(0.0, 0.4) * reach)
    if rng.random() < 0.8:
        canvas.stroke(coast, rng.uniform(0.8, 2.5), _FOAM, opacity=0.85)
    if rng.random() < 0.45:
        _parasols(canvas, coast, width)
    if rng.random() < 0.15:
        at = pairs(rng.uniform(-reach, reach, 2), coast[:, 1].min() - rng.uniform(0.1, 0.5, 2) * reach)
        boats(canvas, at, rng.uniform(5, 10, 2), rng.uniform(0, 6, 2))


def _bounded(line: Floats, far: float) -> Floats:
    """Return the outline of all that lies between a line (points, 2) and the height `far`."""
    return np.vstack([line, [[line[-1, 0], far], [line[0, 0], far]]])


def _breaker(canvas: Canvas, coast: Floats, out: float) -> None:
    """Draw one line of surf, `out` metres from the coast (points, 2)."""
    rng = canvas.rng
    first, last = sorted(rng.choice(len(coast), 2, replace=False))
    part = moved(coast[first : last + 1], 0.0, -out)
    part = part + rng.normal(0, 0.8, part.shape)
    canvas.stroke(part, rng.uniform(0.6, 2.4), _FOAM, opacity=rng.uniform(0.4, 0.9))


def _parasols(canvas: Canvas, coast: Floats, width: float) -> None:
    """Draw one to three rows of parasols on a beach `width` metres deep."""
    rng = canvas.rng
    for row in range(int(rng.integers(1, 4))):
        x = np.arange(-canvas.reach, canvas.reach, rng.uniform(5, 9))
        x = x[rng.random(len(x)) < 0.6] + rng.normal(0, 0.6)
        at = pairs(x, height_at(coast, x) + 0.25 * width + 6 * row)
        colours = [_PARASOLS[i] for i in rng.integers(len(_PARASOLS), size=len(at))]
        canvas.discs(at + canvas.sun * 2, 1.5, (60, 54, 46), opacity=0.5)
        canvas.discs(at, 1.5, colours)


def _inland(canvas: Canvas, edge: Floats) -> None:
    """Draw what lies behind a beach with the inner edge `edge` (points, 2): trees, a promenade, or nothing."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    if kind < 0.5:
        x = rng.uniform(-reach, reach, int(rng.integers(20, 90)))
        at = pairs(x, height_at(edge, x) + np.abs(rng.normal(0, 0.3 * reach, len(x))))
        trees(canvas, at, rng.uniform(1.5, 4.5, len(x)))
    elif kind < 0.8:
        road(canvas, moved(edge, 0.0, 8.0), 7.0, traffic=4.0)
        x = np.arange(-reach, reach, rng.uniform(16, 30))
        row = pairs(x, height_at(edge, x) + 26)
        houses(canvas, row, rng.uniform(10, 18, len(x)), rng.uniform(8, 13, len(x)), 0.0)
