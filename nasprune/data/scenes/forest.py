"""The forest: crowns without end."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import Floats, across, height_at
from nasprune.data.scenes.things import houses, spots, trees


def forest(canvas: Canvas) -> None:
    """Draw a forest; sometimes with a clearing, a track, a brook or a house in it."""
    rng, reach = canvas.rng, canvas.reach
    floor = [shade(colour, 0.62) for colour in canvas.palette.foliage]
    canvas.cover((floor[0], floor[1]))
    spacing = canvas.metres / rng.uniform(13, 26)
    steps = np.arange(-reach, reach, spacing)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centres = rng.permutation(centres + rng.normal(0.0, 0.32 * spacing, centres.shape))
    gaps = rng.random(len(centres)) < rng.choice([0.03, 0.25])
    kind = rng.random()
    if kind < 0.2:
        middle, radius = spots(canvas, 1, spread=0.6), rng.uniform(0.12, 0.3) * reach
        canvas.lay(canvas.palette.grass, middle + radius * _blob(rng))
        gaps |= np.linalg.norm(centres - middle, axis=1) < radius
    elif kind < 0.5:
        line = across(reach, rng.uniform(-0.4, 0.4) * reach, curve=rng.uniform(-0.4, 0.4))
        width = rng.uniform(3.0, 8.0)
        canvas.stroke(line, width, canvas.palette.soil[1] if kind < 0.4 else canvas.palette.water[0])
        gaps |= np.abs(centres[:, 1] - height_at(line, centres[:, 0])) < width / 2 + 0.35 * spacing
    centres = centres[~gaps]
    trees(canvas, centres, spacing * rng.uniform(0.45, 0.8, len(centres)))
    if kind > 0.93:
        houses(canvas, spots(canvas, 1, spread=0.4), 12.0, 9.0, rng.uniform(0, 3))


def _blob(rng: np.random.Generator) -> Floats:
    """Return a wobbly round outline of about unit radius, (16, 2)."""
    angles, radii = np.linspace(0, 2 * math.pi, 16, endpoint=False), rng.uniform(0.75, 1.2, 16)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
