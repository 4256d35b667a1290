"""The harbour: boats side by side in a basin."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import SHADE, shade
from nasprune.data.scenes.shapes import box, moved, pairs
from nasprune.data.scenes.things import boats, cars, flat_roof, spots


def harbour(canvas: Canvas) -> None:
    """Draw jetties with boats at both sides, and the quay they start from."""
    rng, reach = canvas.rng, canvas.reach
    canvas.cover(canvas.palette.water, coarse=0.5)
    wood = shade(canvas.palette.concrete, rng.uniform(0.7, 1.1))
    longest = rng.uniform(7, 16)
    pitch = 2 * longest + rng.uniform(7, 14)
    quay = rng.uniform(-0.95, -0.1) * reach
    filled = rng.uniform(0.4, 0.95)
    for x in np.arange(-reach, reach, pitch) + rng.uniform(0, pitch):
        end = quay + rng.uniform(0.9, 1.9) * reach
        jetty = np.array([[x, quay], [x, end]])
        canvas.stroke(jetty + canvas.sun * 1.5, 2.4, SHADE, opacity=0.4)
        for side in (-1, 1):
            slip = rng.uniform(0.36, 0.5) * longest
            y = np.arange(quay + 6, end, slip)
            y = y[rng.random(len(y)) < filled]
            lengths = np.minimum(longest * rng.uniform(0.65, 1.05, len(y)), 2.9 * slip)
            boats(canvas, pairs(x + side * (1.6 + lengths / 2), y), lengths, 0.0 if side > 0 else math.pi)
        canvas.stroke(jetty, 2.2, wood)
    _quay(canvas, quay)
    if rng.random() < 0.35:
        at = spots(canvas, 2)
        lengths, angles = rng.uniform(6, 16, 2), rng.uniform(0, 2 * math.pi, 2)
        afloat = at[:, 1] > quay + 10
        boats(canvas, at[afloat], lengths[afloat], angles[afloat])


def _quay(canvas: Canvas, edge: float) -> None:
    """Draw the land below y = edge: paved or green, with cars and sheds."""
    rng, reach = canvas.rng, canvas.reach
    far = 1.2 * reach
    land = np.array([[-far, edge], [far, edge], [far, -far], [-far, -far]])
    paved = canvas.palette.concrete if rng.random() < 0.6 else canvas.palette.asphalt
    canvas.lay((shade(paved, 0.9), shade(paved, 1.08)), land)
    canvas.stroke(land[:2], 1.6, shade(paved, 1.25))
    x = np.arange(-reach, reach, 3.2)
    cars(canvas, pairs(x[rng.random(len(x)) < 0.6], edge - 9.0), math.pi / 2)
    if rng.random() < 0.5:
        canvas.lay(canvas.palette.grass, moved(land, 0.0, [-rng.uniform(14, 20)] * 2 + [-reach] * 2))
    if rng.random() < 0.5:
        x_shed, y_shed = rng.uniform(-0.6, 0.6) * reach, edge - rng.uniform(28, 34)
        flat_roof(canvas, box(x_shed, y_shed, rng.uniform(18, 40), 14), canvas.palette.roofs[0])
