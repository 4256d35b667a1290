"""The car park: rows of cars on asphalt."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, grey, shade
from nasprune.data.scenes.shapes import box, boxes
from nasprune.data.scenes.things import cars, flat_roof, road, trees


def parking_lot(canvas: Canvas) -> None:
    """Asphalt with rows of parked cars between lanes; sometimes trees, or the building it serves."""
    rng, reach = canvas.rng, canvas.reach
    tarmac = canvas.palette.asphalt if rng.random() < 0.8 else canvas.palette.concrete
    edge = reach * (1.2 if rng.random() < 0.4 else rng.uniform(0.3, 0.8))
    lot = np.array(
        [[-1.2 * reach, -1.2 * reach], [1.2 * reach, -1.2 * reach], [1.2 * reach, edge], [-1.2 * reach, edge]]
    )
    canvas.lay(canvas.texture((shade(tarmac, 0.9), shade(tarmac, 1.1))), [lot])
    pitch, stall = rng.uniform(15.5, 18.5), rng.uniform(2.5, 2.9)
    filled = rng.choice([rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.98)])
    painted, islands = rng.random() < 0.8, rng.random() < 0.4
    middles, headings = [], []
    for row in np.arange(-1.1 * reach, edge - 8, pitch) + rng.uniform(0, 4):
        x = np.arange(-1.1 * reach, 1.1 * reach, stall) + rng.uniform(0, stall)
        if painted:
            for side in (-1, 1):
                lines = np.stack([x + stall / 2, np.full(len(x), row + side * 2.6)], axis=1)
                lines = lines[canvas.visible(lines, 3.0)]
                canvas.polygons(
                    boxes(lines, np.full(len(lines), 0.22), np.full(len(lines), 5.0), np.zeros(len(lines))),
                    [PAINT] * len(lines),
                    opacity=0.8,
                )
        for side in (-1, 1):
            taken = x[rng.random(len(x)) < filled]
            middles.append(np.stack([taken, row + side * 2.7 + rng.normal(0, 0.2, len(taken))], axis=1))
            headings.append(
                np.where(rng.random(len(taken)) < 0.5, 1.0, -1.0) * math.pi / 2
                + rng.normal(0, 0.03, len(taken))
            )
        if islands:
            at = x[:: int(rng.integers(6, 14))]
            green = np.stack([at, np.full(len(at), row)], axis=1)
            canvas.polygons(
                boxes(green, np.full(len(at), stall), np.full(len(at), 9.5), np.zeros(len(at))),
                [canvas.palette.grass[0]] * len(at),
            )
    cars(canvas, np.concatenate(middles), np.concatenate(headings))
    _beside(canvas, edge)


def _beside(canvas: Canvas, edge: float) -> None:
    """Draw what a car park ends at, from y = edge on: a building, a road or trees."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    if kind < 0.45:
        outline = box((rng.uniform(-0.3, 0.3) * reach, edge + 22), rng.uniform(0.7, 1.6) * reach, 36, 0.0)
        flat_roof(canvas, outline, grey(rng, 120, 220))
    elif kind < 0.75:
        road(canvas, np.array([[-1.2 * reach, edge + 8], [1.2 * reach, edge + 8]]), 8.0, traffic=3.0)
    count = int(rng.integers(0, 25))
    at = np.stack([rng.uniform(-reach, reach, count), edge + np.abs(rng.normal(1, 4, count))], axis=1)
    trees(canvas, at, rng.uniform(1.3, 3.2, count))
