"""The forest: crowns without end."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import bend
from nasprune.data.scenes.things import houses, spots, trees


def forest(canvas: Canvas) -> None:
    """Crowns without end; sometimes a clearing, a track or a brook."""
    rng, reach = canvas.rng, canvas.reach
    floor = [shade(colour, 0.62) for colour in canvas.palette.foliage]
    canvas.image.paste(canvas.texture((floor[0], floor[1])))
    spacing = canvas.metres / rng.uniform(13, 26)
    steps = np.arange(-reach, reach, spacing)
    centres = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    centres = centres + rng.normal(0.0, 0.32 * spacing, centres.shape)
    centres = centres[rng.permutation(len(centres))]
    gaps = rng.random(len(centres)) < rng.choice([0.03, 0.25])
    kind = rng.random()
    if kind < 0.2:
        middle, width = spots(canvas, 1, spread=0.6), rng.uniform(0.12, 0.3) * reach
        canvas.lay(canvas.texture(canvas.palette.grass), [middle + width * _blob(canvas)])
        gaps |= np.linalg.norm(centres - middle, axis=1) < width
    elif kind < 0.5:
        line = bend(canvas, rng.uniform(-0.4, 0.4) * reach, curve=rng.uniform(-0.4, 0.4))
        width = rng.uniform(3.0, 8.0)
        canvas.stroke(line, width, canvas.palette.soil[1] if kind < 0.4 else canvas.palette.water[0])
        gaps |= (
            np.abs(centres[:, 1] - np.interp(centres[:, 0], line[:, 0], line[:, 1]))
            < width / 2 + 0.35 * spacing
        )
    centres = centres[~gaps]
    radii = spacing * rng.uniform(0.45, 0.8, len(centres))
    trees(canvas, centres, radii)
    if kind > 0.93:
        houses(canvas, spots(canvas, 1, spread=0.4), np.array([12.0]), np.array([9.0]), rng.uniform(0, 3, 1))


def _blob(canvas: Canvas) -> Floats:
    """Return a wobbly round outline of unit radius, (corners, 2)."""
    angles = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    radii = canvas.rng.uniform(0.75, 1.2, 16)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
