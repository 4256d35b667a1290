"""The tank farm: round tanks within earth walls."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import Colour, shade
from nasprune.data.scenes.shapes import boxes
from nasprune.data.scenes.things import clumps, houses, pick, road, spots

_TANKS: tuple[Colour, ...] = (
    (238, 238, 234),
    (212, 212, 206),
    (178, 180, 180),
    (166, 124, 98),
    (196, 206, 190),
)


def storage_tanks(canvas: Canvas) -> None:
    """Round tanks, alone or in rows, within their earth walls."""
    rng, reach = canvas.rng, canvas.reach
    yard = (
        canvas.palette.soil,
        (shade(canvas.palette.concrete, 0.85), canvas.palette.concrete),
        canvas.palette.grass,
    )
    canvas.image.paste(canvas.texture(yard[rng.integers(3)]))
    if rng.random() < 0.6:
        offset = rng.uniform(-0.9, 0.9) * reach
        road(canvas, np.array([[-1.2 * reach, offset], [1.2 * reach, offset]]), 7.0, traffic=1.0, kerb=False)
    radius = rng.uniform(0.05, 0.17) * canvas.metres
    pitch = radius * rng.uniform(2.3, 3.6)
    grid = (np.arange(-6, 7) * pitch)[np.abs(np.arange(-6, 7) * pitch) < 0.9 * reach]
    centres = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2) + rng.uniform(-0.5, 0.5, 2) * pitch
    near = centres[np.argsort(np.linalg.norm(centres + rng.uniform(-0.35, 0.35, 2) * reach, axis=1))]
    kept = near[: max(1, int(len(near) * rng.choice([0.2, 0.4, 0.8])))]
    kept = kept + rng.normal(0, 0.05 * pitch, kept.shape)
    radii = radius * rng.choice([rng.uniform(0.9, 1.0), rng.uniform(0.55, 1.0)], len(kept))
    if rng.random() < 0.5:
        walls = boxes(
            kept, np.full(len(kept), 0.97 * pitch), np.full(len(kept), 0.97 * pitch), np.zeros(len(kept))
        )
        canvas.polygons(walls, [shade(canvas.palette.soil[1], 1.1)] * len(walls))
        inner = boxes(
            kept, np.full(len(kept), 0.88 * pitch), np.full(len(kept), 0.88 * pitch), np.zeros(len(kept))
        )
        canvas.polygons(inner, [canvas.palette.soil[0]] * len(inner))
    for x, y in kept[: int(rng.integers(0, 6))]:
        canvas.stroke([[x, y], [x, -1.2 * reach]], 1.0, (150, 150, 148))
    _tanks(canvas, kept, radii)
    sheds = spots(canvas, int(rng.integers(0, 4)))
    apart = np.array([np.min(np.linalg.norm(kept - shed, axis=1)) > radius + 14 for shed in sheds], bool)
    sheds = sheds[apart] if len(sheds) else sheds
    houses(
        canvas, sheds, rng.uniform(8, 20, len(sheds)), rng.uniform(6, 12, len(sheds)), np.zeros(len(sheds))
    )
    clumps(canvas, int(rng.integers(0, 5)), trees_each=(2, 6))


def _tanks(canvas: Canvas, centres: np.ndarray, radii: np.ndarray) -> None:
    """Draw tanks with fixed or floating roofs at centres (N, 2) with radii (N,)."""
    rng = canvas.rng
    paint = (
        [_TANKS[rng.integers(len(_TANKS))]] * len(radii)
        if rng.random() < 0.7
        else pick(canvas, _TANKS, len(radii))
    )
    height = rng.uniform(6.0, 14.0)
    for step in (0.4, 0.7, 1.0):
        canvas.discs(centres + canvas.sun * height * step, radii, [(18, 22, 30)] * len(radii), opacity=0.3)
    canvas.discs(centres, radii, [shade(colour, 0.78) for colour in paint])
    canvas.discs(centres, 0.93 * radii, paint)
    towards = canvas.sun / np.linalg.norm(canvas.sun)
    if rng.random() < 0.4:  # a floating roof lies deep: the wall throws a crescent of shade on it
        canvas.discs(centres, 0.88 * radii, [shade(colour, 0.5) for colour in paint])
        canvas.discs(
            centres + towards * (0.1 * radii)[:, None],
            0.79 * radii,
            [shade(colour, 0.92) for colour in paint],
        )
    else:
        canvas.discs(
            centres - towards * (0.25 * radii)[:, None],
            0.5 * radii,
            [shade(colour, 1.08) for colour in paint],
        )
        canvas.discs(centres, 0.12 * radii, [shade(colour, 0.7) for colour in paint])
        if rng.random() < 0.5:
            for (x, y), radius in zip(centres, radii, strict=True):
                for angle in np.linspace(0, math.pi, 4, endpoint=False):
                    spoke = 0.9 * radius * np.array([math.cos(angle), math.sin(angle)])
                    canvas.stroke([[x, y] - spoke, [x, y] + spoke], 0.4, shade(paint[0], 0.8), opacity=0.6)
