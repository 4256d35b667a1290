"""Where people live: close together, or with room between them."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import bend, box, boxes
from nasprune.data.scenes.things import cars, clumps, houses, road, spots, trees

_POOL = (84, 178, 200)


def dense_residential(canvas: Canvas) -> None:
    """Rows of small houses along parallel streets, little between them."""
    rng, reach = canvas.rng, canvas.reach
    lot, depth = rng.uniform(10.5, 16.5), rng.uniform(15, 23)
    street = rng.uniform(5.5, 9.0)
    if rng.random() < 0.5:  # yards of bare or paved ground
        canvas.image.paste(canvas.texture((canvas.palette.soil[0], canvas.palette.grass[1])))
    pitch = street + 2 * depth
    shift = rng.uniform(0, pitch)
    jitter = rng.uniform(0.02, 0.12)
    every = []
    for row in np.arange(-reach - pitch, reach + pitch, pitch) + shift:
        for side in (-1, 1):
            x = np.arange(-1.1 * reach, 1.1 * reach, lot) + rng.uniform(0, lot)
            y = (
                row
                + side * (street / 2 + depth * rng.uniform(0.46, 0.54))
                + rng.normal(0, jitter * depth, len(x))
            )
            every.append(np.stack([x, y], axis=1))
            drive = np.stack([x + 0.36 * lot, np.full(len(x), row + side * (street / 2 + 4.0))], axis=1)
            _drives(canvas, drive[rng.random(len(x)) < 0.7], 9.0, math.pi / 2)
        road(canvas, np.array([[-1.2 * reach, row], [1.2 * reach, row]]), street, traffic=rng.uniform(1, 7))
    if rng.random() < 0.5:
        x = rng.uniform(-0.7, 0.7) * reach
        road(canvas, np.array([[x, -1.2 * reach], [x, 1.2 * reach]]), street, traffic=2.0)
        every = [row[np.abs(row[:, 0] - x) > street / 2 + 6] for row in every]
    centres = np.concatenate(every)
    centres = centres[(rng.random(len(centres)) < rng.uniform(0.86, 1.0))]
    count = len(centres)
    lengths, widths = lot * rng.uniform(0.66, 0.94, count), depth * rng.uniform(0.42, 0.68, count)
    turned = rng.random(count) < 0.35
    lengths, widths = (
        np.where(turned, widths, lengths),
        np.where(turned, np.minimum(lengths, lot * 0.9), widths),
    )
    houses(canvas, centres, lengths, widths, turned * math.pi / 2 + rng.normal(0, 0.03, count))
    _pools(canvas, centres + [0.0, 0.45 * depth], rng.choice([0.0, 0.06]))
    gardens = spots(canvas, int(rng.integers(5, 60)))
    trees(canvas, gardens, rng.uniform(1.2, 3.4, len(gardens)))


def sparse_residential(canvas: Canvas) -> None:
    """Two to six houses among lawns and trees, each with its own drive."""
    rng, reach = canvas.rng, canvas.reach
    if rng.random() < 0.25:
        canvas.image.paste(canvas.texture(canvas.palette.soil))
    wooded = rng.random() < 0.35
    offset, curve = rng.uniform(-0.3, 0.3) * reach, rng.uniform(-0.3, 0.3)
    lane = bend(canvas, offset, curve=curve)
    road(canvas, lane, rng.uniform(4.5, 7.0), traffic=0.6, kerb=rng.random() < 0.3)
    count = int(rng.integers(2, 7))
    x = (np.arange(count) - (count - 1) / 2) * rng.uniform(18, 27) + rng.normal(0, 3, count)
    sides = np.where(np.arange(count) % 2 == rng.integers(2), 1, -1)
    near = np.interp(x, lane[:, 0], lane[:, 1])
    y = near + sides * rng.uniform(16, 27, count)
    centres = np.stack([x, y], axis=1)
    for (left, top), start in zip(centres, near, strict=True):
        drive = [[left + rng.uniform(-9, 9), start], [left + rng.uniform(-4, 4), top]]
        canvas.stroke(drive, rng.uniform(2.8, 4.2), shade(canvas.palette.concrete, rng.uniform(0.8, 1.0)))
        cars(canvas, np.array([drive]).mean(axis=1), np.array([math.pi / 2]))
    clumps(canvas, int(rng.integers(12, 26) if wooded else rng.integers(3, 13)), trees_each=(3, 11))
    lengths, widths = rng.uniform(13, 21, count), rng.uniform(9, 13, count)
    angles = rng.uniform(-0.5, 0.5, count)
    wings = rng.random(count) < 0.55
    if wings.any():
        houses(
            canvas,
            centres[wings] + [4.0, 4.0],
            widths[wings] + 4,
            widths[wings] * 0.8,
            angles[wings] + math.pi / 2,
        )
    houses(canvas, centres, lengths, widths, angles)
    _pools(canvas, centres + sides[:, None] * [6.0, 16.0], 0.3)


def _drives(canvas: Canvas, centres: Floats, length: float, angle: float) -> None:
    """Draw paved drives at centres (N, 2), with a car on some."""
    rng, count = canvas.rng, len(centres)
    shapes = boxes(centres, np.full(count, length), np.full(count, 3.2), np.full(count, angle))
    seen = canvas.visible(centres, 8.0)
    parked = centres[rng.random(count) < 0.45]
    canvas.polygons(shapes[seen], [shade(canvas.palette.concrete, 0.95)] * int(seen.sum()))
    cars(canvas, parked, np.full(len(parked), angle))


def _pools(canvas: Canvas, centres: Floats, share: float) -> None:
    """Draw a swimming pool at a share of the centres (N, 2)."""
    for x, y in centres[canvas.rng.random(len(centres)) < share]:
        canvas.polygon(box((x, y), 11, 7, 0.0), canvas.palette.concrete)
        canvas.polygon(box((x, y), 8.5, 4.5, 0.0), _POOL)
