"""Where people live: close together, or with room between them."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import Colour, shade
from nasprune.data.scenes.shapes import Floats, across, box, boxes, height_at, moved, pairs
from nasprune.data.scenes.things import cars, clumps, houses, road, spots, trees

_POOL: Colour = (84, 178, 200)
_QUARTER = math.pi / 2


def dense_residential(canvas: Canvas) -> None:
    """Draw rows of small houses along parallel streets, with little between them."""
    rng, reach = canvas.rng, canvas.reach
    lot, depth, street = rng.uniform(10.5, 16.5), rng.uniform(15, 23), rng.uniform(5.5, 9.0)
    if rng.random() < 0.5:  # yards of bare or paved ground
        canvas.cover((canvas.palette.soil[0], canvas.palette.grass[1]))
    pitch = street + 2 * depth
    jitter = rng.uniform(0.02, 0.12)
    rows = []
    for y in np.arange(-reach - pitch, reach + pitch, pitch) + rng.uniform(0, pitch):
        for side in (-1, 1):
            x = np.arange(-1.1 * reach, 1.1 * reach, lot) + rng.uniform(0, lot)
            back = y + side * (street / 2 + depth * rng.uniform(0.46, 0.54))
            rows.append(pairs(x, back + rng.normal(0, jitter * depth, len(x))))
            drives = pairs(x + 0.36 * lot, y + side * (street / 2 + 4.0))
            _drives(canvas, drives[rng.random(len(x)) < 0.7])
        road(canvas, [[-1.2 * reach, y], [1.2 * reach, y]], street, traffic=rng.uniform(1, 7))
    centres = np.concatenate(rows)
    if rng.random() < 0.5:
        x_cross = rng.uniform(-0.7, 0.7) * reach
        road(canvas, [[x_cross, -1.2 * reach], [x_cross, 1.2 * reach]], street, traffic=2.0)
        centres = centres[np.abs(centres[:, 0] - x_cross) > street / 2 + 6]
    centres = centres[rng.random(len(centres)) < rng.uniform(0.86, 1.0)]
    count = len(centres)
    lengths, widths = lot * rng.uniform(0.66, 0.94, count), depth * rng.uniform(0.42, 0.68, count)
    turned = rng.random(count) < 0.35
    lengths, widths = np.where(turned, widths, lengths), np.where(turned, lengths, widths)
    houses(canvas, centres, lengths, widths, turned * _QUARTER + rng.normal(0, 0.03, count))
    _pools(canvas, moved(centres, 0.0, 0.45 * depth), rng.choice([0.0, 0.06]))
    gardens = spots(canvas, int(rng.integers(5, 60)))
    trees(canvas, gardens, rng.uniform(1.2, 3.4, len(gardens)))


def sparse_residential(canvas: Canvas) -> None:
    """Draw two to six houses among lawns and trees, each with its own drive."""
    rng, reach = canvas.rng, canvas.reach
    if rng.random() < 0.25:
        canvas.cover(canvas.palette.soil)
    wooded = rng.random() < 0.35
    lane = across(reach, rng.uniform(-0.3, 0.3) * reach, curve=rng.uniform(-0.3, 0.3))
    road(canvas, lane, rng.uniform(4.5, 7.0), traffic=0.6, kerb=rng.random() < 0.3)
    count = int(rng.integers(2, 7))
    x = (np.arange(count) - (count - 1) / 2) * rng.uniform(18, 27) + rng.normal(0, 3, count)
    sides = np.where(np.arange(count) % 2 == rng.integers(2), 1, -1)
    front = pairs(x, height_at(lane, x))
    centres = moved(front, 0.0, sides * rng.uniform(16, 27, count))
    for home, gate in zip(centres, front, strict=True):
        drive = np.stack([gate, home]) + rng.uniform(-5, 5, (2, 1)) * [1.0, 0.0]
        surface = shade(canvas.palette.concrete, rng.uniform(0.8, 1.0))
        canvas.stroke(drive, rng.uniform(2.8, 4.2), surface)
        cars(canvas, drive.mean(axis=0, keepdims=True), _QUARTER)
    groves = int(rng.integers(12, 26) if wooded else rng.integers(3, 13))
    clumps(canvas, groves, trees_each=(3, 11))
    lengths, widths = rng.uniform(13, 21, count), rng.uniform(9, 13, count)
    angles = rng.uniform(-0.5, 0.5, count)
    wing = rng.random(count) < 0.55
    houses(canvas, moved(centres[wing], 4, 4), widths[wing] + 4, 0.8 * widths[wing], angles[wing] + _QUARTER)
    houses(canvas, centres, lengths, widths, angles)
    _pools(canvas, moved(centres, 6.0 * sides, 16.0 * sides), 0.3)


def _drives(canvas: Canvas, centres: Floats) -> None:
    """Draw paved drives around centres (N, 2), with a car on some."""
    shapes = boxes(centres, 9.0, 3.2, _QUARTER)
    canvas.polygons(shapes[canvas.visible(centres, 8.0)], shade(canvas.palette.concrete, 0.95))
    cars(canvas, centres[canvas.rng.random(len(centres)) < 0.45], _QUARTER)


def _pools(canvas: Canvas, centres: Floats, share: float) -> None:
    """Draw a swimming pool at a share of the centres (N, 2)."""
    for x, y in centres[canvas.rng.random(len(centres)) < share]:
        canvas.polygon(box(x, y, 11, 7), canvas.palette.concrete)
        canvas.polygon(box(x, y, 8.5, 4.5), _POOL)
