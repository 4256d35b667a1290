"""The car park: rows of cars on asphalt."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, grey, shade
from nasprune.data.scenes.shapes import Floats, box, boxes, pairs
from nasprune.data.scenes.things import cars, flat_roof, road, trees


def parking_lot(canvas: Canvas) -> None:
    """Draw rows of parked cars between lanes; sometimes islands, or the building they came to."""
    rng, far = canvas.rng, 1.2 * canvas.reach
    tarmac = canvas.palette.asphalt if rng.random() < 0.8 else canvas.palette.concrete
    edge = far if rng.random() < 0.4 else rng.uniform(0.3, 0.8) * canvas.reach
    canvas.lay((shade(tarmac, 0.9), shade(tarmac, 1.1)), [[-far, -far], [far, -far], [far, edge], [-far, edge]])
    pitch, stall = rng.uniform(15.5, 18.5), rng.uniform(2.5, 2.9)
    filled = rng.choice([rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.98)])
    painted, islands = rng.random() < 0.8, rng.random() < 0.4
    parked = []
    for y in np.arange(-0.9 * far, edge - 8, pitch) + rng.uniform(0, 4):
        x = np.arange(-0.9 * far, 0.9 * far, stall) + rng.uniform(0, stall)
        for side in (-1, 1):
            if painted:
                _marks(canvas, pairs(x + stall / 2, y + side * 2.6))
            taken = x[rng.random(len(x)) < filled]
            parked.append(pairs(taken, y + side * 2.7 + rng.normal(0, 0.2, len(taken))))
        if islands:
            beds = pairs(x[:: int(rng.integers(6, 14))], y)
            canvas.polygons(boxes(beds, stall, 9.5, 0.0), canvas.palette.grass[0])
    at = np.concatenate(parked)
    cars(canvas, at, rng.choice([-0.5, 0.5], len(at)) * math.pi + rng.normal(0, 0.03, len(at)))
    _beyond(canvas, edge)


def _marks(canvas: Canvas, centres: Floats) -> None:
    """Draw the lines between stalls around centres (N, 2)."""
    centres = centres[canvas.visible(centres, 3.0)]
    canvas.polygons(boxes(centres, 0.22, 5.0, 0.0), PAINT, opacity=0.8)


def _beyond(canvas: Canvas, edge: float) -> None:
    """Draw what a car park ends at, from y = edge on: a building, a road or trees."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    if kind < 0.45:
        x, length = rng.uniform(-0.3, 0.3) * reach, rng.uniform(0.7, 1.6) * reach
        flat_roof(canvas, box(x, edge + 22, length, 36), grey(rng, 120, 220))
    elif kind < 0.75:
        road(canvas, [[-1.2 * reach, edge + 8], [1.2 * reach, edge + 8]], 8.0, traffic=3.0)
    count = int(rng.integers(0, 25))
    at = pairs(rng.uniform(-reach, reach, count), edge + np.abs(rng.normal(1, 4, count)))
    trees(canvas, at, rng.uniform(1.3, 3.2, count))
