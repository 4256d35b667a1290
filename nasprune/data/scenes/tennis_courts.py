"""Tennis courts, in ones and in rows."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, Colour, shade
from nasprune.data.scenes.shapes import box
from nasprune.data.scenes.things import cars, clumps, flat_roof, houses, road, spots, trees

_COURTS: tuple[Colour, ...] = (
    (74, 122, 88),
    (62, 98, 150),
    (176, 98, 72),
    (88, 130, 96),
    (120, 132, 128),
    (70, 116, 132),
)


def tennis_courts(canvas: Canvas) -> None:
    """One to eight courts with their lines and nets, among trees, houses or car parks."""
    rng, reach = canvas.rng, canvas.reach
    _neighbours(canvas)
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    across, along = rng.uniform(15.5, 18.5), rng.uniform(33, 37)
    width, height = columns * across + 3, rows * along + 2
    middle = rng.uniform(-0.3, 0.3, 2) * reach
    around, court = (_COURTS[i] for i in rng.integers(len(_COURTS), size=2))
    if rng.random() < 0.3:
        court = shade(around, rng.uniform(0.85, 1.15))
    outline = box((middle[0], middle[1]), width, height, 0.0)
    canvas.lay(canvas.texture((shade(around, 0.94), shade(around, 1.06))), [outline])
    canvas.stroke(np.vstack([outline, outline[:1]]), 0.5, shade(around, 0.5))
    for column in range(columns):
        for row in range(rows):
            at = middle + [(column - (columns - 1) / 2) * across, (row - (rows - 1) / 2) * along]
            _court(canvas, at, court)
    edge = int(rng.integers(4, 30))
    where = rng.integers(4, size=edge)
    corner = outline[where] + (outline[(where + 1) % 4] - outline[where]) * rng.random((edge, 1))
    outward = (corner - middle) / np.linalg.norm(corner - middle, axis=1, keepdims=True)
    trees(canvas, corner + outward * rng.uniform(4, 9, (edge, 1)), rng.uniform(1.5, 3.5, edge))


def _court(canvas: Canvas, at: np.ndarray, colour: Colour) -> None:
    """Draw one court, 23.77 m by 10.97 m, around a middle (2,)."""
    canvas.polygon(box((at[0], at[1]), 10.97, 23.77, 0.0), colour)
    for x in (-5.49, -4.12, 4.12, 5.49):
        canvas.stroke([at + [x, -11.9], at + [x, 11.9]], 0.3, PAINT)
    for y, half in ((-11.9, 5.5), (-6.4, 4.1), (6.4, 4.1), (11.9, 5.5)):
        canvas.stroke([at + [-half, y], at + [half, y]], 0.3, PAINT)
    canvas.stroke([at + [0, -6.4], at + [0, 6.4]], 0.3, PAINT)
    canvas.stroke(np.array([at + [-6.4, 0.0], at + [6.4, 0.0]]) + canvas.sun, 0.5, (30, 34, 38), opacity=0.6)
    canvas.stroke([at + [-6.4, 0.0], at + [6.4, 0.0]], 0.35, (220, 220, 220))


def _neighbours(canvas: Canvas) -> None:
    """Draw what lies around tennis courts."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    clumps(canvas, int(rng.integers(0, 12)))
    if kind < 0.35:
        count = int(rng.integers(3, 12))
        at = spots(canvas, count)
        houses(
            canvas, at, rng.uniform(9, 16, count), rng.uniform(8, 11, count), rng.choice([0.0, 1.57], count)
        )
    elif kind < 0.6:
        side = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 0.8) * reach
        canvas.polygon(box((0.0, side), 2.4 * reach, 20, 0.0), canvas.palette.asphalt)
        x = np.arange(-reach, reach, 2.7)
        x = x[rng.random(len(x)) < 0.6]
        cars(canvas, np.stack([x, np.full(len(x), side - 5)], axis=1), np.full(len(x), math.pi / 2))
    elif kind < 0.8:
        road(canvas, np.array([[-1.2 * reach, 0.8 * reach], [1.2 * reach, 0.7 * reach]]), 7.0, traffic=3.0)
    elif kind < 0.9:
        flat_roof(canvas, box((0.6 * reach, 0.6 * reach), 40, 26, 0.0), canvas.palette.concrete)
