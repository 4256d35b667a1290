"""The harbour: boats side by side in a basin."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import box
from nasprune.data.scenes.things import boats, cars, flat_roof, spots


def harbour(canvas: Canvas) -> None:
    """A basin with boats side by side along its jetties; mostly a quay."""
    rng, reach = canvas.rng, canvas.reach
    canvas.image.paste(canvas.texture(canvas.palette.water, coarse=0.5))
    wood = shade(canvas.palette.concrete, rng.uniform(0.7, 1.1))
    length = rng.uniform(7, 16)
    pitch = 2 * length + rng.uniform(7, 14)
    quay = rng.uniform(-0.95, -0.1) * reach
    filled = rng.uniform(0.4, 0.95)
    for x in np.arange(-reach, reach, pitch) + rng.uniform(0, pitch):
        end = quay + rng.uniform(0.9, 1.9) * reach
        canvas.stroke(np.array([[x, quay], [x, end]]) + canvas.sun * 1.5, 2.4, (14, 18, 26), opacity=0.4)
        for side in (-1, 1):
            slip = rng.uniform(0.36, 0.5) * length
            y = np.arange(quay + 6, end, slip)
            y = y[rng.random(len(y)) < filled]
            sizes = np.minimum(length * rng.uniform(0.65, 1.05, len(y)), 2.9 * slip)
            centres = np.stack([x + side * (1.6 + sizes / 2), y], axis=1)
            seen = canvas.visible(centres, 10.0)
            boats(canvas, centres[seen], sizes[seen], np.full(seen.sum(), 0.0 if side > 0 else math.pi))
        canvas.polygon(box((x, (quay + end) / 2), 2.2, end - quay, 0.0), wood)
    _quay(canvas, quay)
    if rng.random() < 0.35:
        at = spots(canvas, 2)
        boats(canvas, at, rng.uniform(6, 16, 2), rng.uniform(0, 2 * math.pi, 2))


def _quay(canvas: Canvas, edge: float) -> None:
    """Draw the land behind y = edge: paved or green, with cars, trees and sheds."""
    rng, reach = canvas.rng, canvas.reach
    land = np.array(
        [[-1.2 * reach, edge], [1.2 * reach, edge], [1.2 * reach, -1.2 * reach], [-1.2 * reach, -1.2 * reach]]
    )
    paved = canvas.palette.concrete if rng.random() < 0.6 else canvas.palette.asphalt
    canvas.lay(canvas.texture((shade(paved, 0.9), shade(paved, 1.08))), [land])
    canvas.stroke(land[:2], 1.6, shade(paved, 1.25))
    x = np.arange(-reach, reach, 3.2)
    x = x[rng.random(len(x)) < 0.6]
    cars(canvas, np.stack([x, np.full(len(x), edge - 9.0)], axis=1), np.full(len(x), math.pi / 2))
    if rng.random() < 0.5:
        canvas.lay(canvas.texture(canvas.palette.grass), [land - [0.0, rng.uniform(14, 20)]])
    if rng.random() < 0.5:
        outline = box(
            (rng.uniform(-0.6, 0.6) * reach, edge - rng.uniform(28, 34)), rng.uniform(18, 40), 14, 0.0
        )
        flat_roof(canvas, outline, canvas.palette.roofs[0])
