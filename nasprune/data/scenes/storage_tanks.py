"""The tank farm: round tanks within earth walls."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import SHADE, Colour, shade
from nasprune.data.scenes.shapes import Floats, boxes
from nasprune.data.scenes.things import clumps, houses, pick, road, spots

_TANKS: tuple[Colour, ...] = (
    (238, 238, 234),
    (212, 212, 206),
    (178, 180, 180),
    (166, 124, 98),
    (196, 206, 190),
)
_PIPE: Colour = (150, 150, 148)


def storage_tanks(canvas: Canvas) -> None:
    """Draw tanks, alone or in rows, with pipes, and sheds beside them."""
    rng, reach, palette = canvas.rng, canvas.reach, canvas.palette
    yards = (palette.soil, (shade(palette.concrete, 0.85), palette.concrete), palette.grass)
    canvas.cover(yards[rng.integers(len(yards))])
    if rng.random() < 0.6:
        y_road = rng.uniform(-0.9, 0.9) * reach
        road(canvas, [[-1.2 * reach, y_road], [1.2 * reach, y_road]], 7.0, traffic=1.0, kerb=False)
    radius = rng.uniform(0.05, 0.17) * canvas.metres
    pitch = radius * rng.uniform(2.3, 3.6)
    centres = _places(canvas, pitch)
    radii = radius * rng.choice([rng.uniform(0.9, 1.0), rng.uniform(0.55, 1.0)], len(centres))
    if rng.random() < 0.5:
        canvas.polygons(boxes(centres, 0.97 * pitch, 0.97 * pitch, 0.0), shade(palette.soil[1], 1.1))
        canvas.polygons(boxes(centres, 0.88 * pitch, 0.88 * pitch, 0.0), palette.soil[0])
    for x, y in centres[: int(rng.integers(0, 6))]:
        canvas.stroke([[x, y], [x, -1.2 * reach]], 1.0, _PIPE)
    _tanks(canvas, centres, radii)
    sheds = spots(canvas, int(rng.integers(0, 4)))
    gaps = np.linalg.norm(sheds[:, None] - centres[None], axis=2).min(axis=1)
    sheds = sheds[gaps > radius + 14]
    houses(canvas, sheds, rng.uniform(8, 20, len(sheds)), rng.uniform(6, 12, len(sheds)), 0.0)
    clumps(canvas, int(rng.integers(0, 5)), trees_each=(2, 6))


def _places(canvas: Canvas, pitch: float) -> Floats:
    """Return where the tanks stand, (N, 2), N at least 1: part of a grid, from the middle outwards."""
    rng, reach = canvas.rng, canvas.reach
    steps = np.arange(-6, 7) * pitch
    steps = steps[np.abs(steps) < 0.9 * reach]
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) + rng.uniform(-0.5, 0.5, 2) * pitch
    order = np.argsort(np.linalg.norm(grid + rng.uniform(-0.35, 0.35, 2) * reach, axis=1))
    places = grid[order][: max(1, int(len(grid) * rng.choice([0.2, 0.4, 0.8])))]
    return places + rng.normal(0, 0.05 * pitch, places.shape)


def _tanks(canvas: Canvas, centres: Floats, radii: Floats) -> None:
    """Draw tanks with fixed or floating roofs around centres (N, 2) with radii (N,)."""
    rng, count = canvas.rng, len(radii)
    paint = [_TANKS[rng.integers(len(_TANKS))]] * count if rng.random() < 0.7 else pick(canvas, _TANKS, count)
    height = rng.uniform(6.0, 14.0)
    for step in (0.4, 0.7, 1.0):
        canvas.discs(centres + canvas.sun * height * step, radii, SHADE, opacity=0.3)
    canvas.discs(centres, radii, [shade(colour, 0.78) for colour in paint])
    canvas.discs(centres, 0.93 * radii, paint)
    fall = (canvas.sun / np.linalg.norm(canvas.sun)) * radii[:, None]
    if rng.random() < 0.4:  # a floating roof lies deep: the wall throws a crescent of shade on it
        canvas.discs(centres, 0.88 * radii, [shade(colour, 0.5) for colour in paint])
        canvas.discs(centres + 0.1 * fall, 0.79 * radii, [shade(colour, 0.92) for colour in paint])
        return
    canvas.discs(centres - 0.25 * fall, 0.5 * radii, [shade(colour, 1.08) for colour in paint])
    canvas.discs(centres, 0.12 * radii, [shade(colour, 0.7) for colour in paint])
    if rng.random() < 0.5:
        for centre, radius in zip(centres, radii, strict=True):
            for angle in np.linspace(0, math.pi, 4, endpoint=False):
                rib = 0.9 * radius * np.array([math.cos(angle), math.sin(angle)])
                canvas.stroke(np.stack([centre - rib, centre + rib]), 0.4, shade(paint[0], 0.8), opacity=0.6)
