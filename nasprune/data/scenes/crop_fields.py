"""Fields: a patchwork with the rows of the plough in it."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import Colour, clip
from nasprune.data.scenes.shapes import box
from nasprune.data.scenes.things import clumps, houses, road, spots, trees


def crop_fields(canvas: Canvas) -> None:
    """A patchwork of fields with the rows of the plough in them; sometimes round ones, a track, a farm."""
    rng, reach = canvas.rng, canvas.reach
    ids = Image.new("L", canvas.image.size)
    pen = ImageDraw.Draw(ids)
    fields = _partition(canvas, -reach, reach, -reach, reach)
    skew = np.array([[1.0, rng.uniform(-0.25, 0.25)], [0.0, 1.0]])
    shapes = [field @ skew for field in fields]
    round_ones = rng.random() < 0.22
    for number, shape in enumerate(shapes):
        canvas_shape = canvas.pixels(shape)
        if round_ones:
            low, high = canvas_shape.min(axis=0), canvas_shape.max(axis=0)
            middle, radius = (low + high) / 2, 0.46 * float(np.min(high - low))
            pen.ellipse([*(middle - radius), *(middle + radius)], fill=number + 1)
        else:
            pen.polygon(canvas_shape.ravel().tolist(), fill=number + 1)
    _plough(canvas, np.asarray(ids), len(shapes))
    for shape in shapes:
        if not round_ones and rng.random() < 0.75:
            canvas.stroke(np.vstack([shape, shape[:1]]), rng.uniform(1.5, 4.0), canvas.palette.soil[1])
        if rng.random() < 0.15:
            hedge = np.linspace(shape[0], shape[1], int(rng.integers(6, 20)))
            trees(canvas, hedge + rng.normal(0, 1.5, hedge.shape), rng.uniform(2, 5, len(hedge)))
    if rng.random() < 0.35:
        edge = shapes[int(rng.integers(len(shapes)))]
        ahead = edge[1] - edge[0]
        ahead = ahead / np.linalg.norm(ahead)
        road(canvas, np.stack([edge[0] - 3 * reach * ahead, edge[0] + 3 * reach * ahead]), 5.0, kerb=False)
    if rng.random() < 0.25:
        at = spots(canvas, 1, spread=0.5)
        count = int(rng.integers(1, 4))
        farm = at + rng.normal(0, 12, (count, 2))
        canvas.polygon(box((at[0, 0], at[0, 1]), 50, 40, 0.0), canvas.palette.soil[0])
        houses(
            canvas,
            farm,
            rng.uniform(14, 26, count),
            rng.uniform(9, 13, count),
            rng.choice([0.0, 1.57], count),
        )
    clumps(canvas, int(rng.integers(0, 3)))


def _partition(canvas: Canvas, left: float, right: float, bottom: float, top: float) -> list[Floats]:
    """Cut a rectangle into fields, each (4, 2) in metres, by cuts that fall at random."""
    rng, width, height = canvas.rng, right - left, top - bottom
    small = canvas.metres * rng.uniform(0.3, 0.75)
    if max(width, height) < small or min(width, height) < 0.12 * canvas.metres:
        return [np.array([[left, bottom], [right, bottom], [right, top], [left, top]])]
    cut = rng.uniform(0.3, 0.7)
    if width > height:
        middle = left + cut * width
        return _partition(canvas, left, middle, bottom, top) + _partition(canvas, middle, right, bottom, top)
    middle = bottom + cut * height
    return _partition(canvas, left, right, bottom, middle) + _partition(canvas, left, right, middle, top)


def _plough(canvas: Canvas, ids: np.ndarray, count: int) -> None:
    """Colour the fields and draw their rows: ids (side, side) hold 0 for none and 1 to `count` for the fields."""
    rng = canvas.rng
    crops = np.array([_crop(canvas) for _ in range(count)], np.float32)
    colours = np.concatenate([np.array([canvas.palette.soil[1]], np.float32), crops])
    angles = rng.choice([0.0, math.pi / 2], count + 1) + canvas.heading + rng.normal(0, 0.04, count + 1)
    # A row is 2.5 to 9 m wide: narrower ones would fall between the pixels of a small picture.
    waves = 2 * math.pi / rng.uniform(2.5, 9.0, count + 1) / canvas.dots(1.0)
    depth = (rng.uniform(0.0, 0.28, count + 1) * (rng.random(count + 1) < 0.75)).astype(np.float32)
    down, across = np.indices(ids.shape, np.float32)
    phase = across * (np.cos(angles) * waves).astype(np.float32)[ids]
    phase += down * (np.sin(angles) * waves).astype(np.float32)[ids]
    pixels = colours[ids] * (1.0 + depth[ids] * np.sin(phase))[..., None]
    ground = np.asarray(canvas.texture(((86, 86, 86), (170, 170, 170))), np.float32) / 128.0
    canvas.image.paste(Image.fromarray(np.clip(pixels * ground, 0, 255).astype(np.uint8)))


def _crop(canvas: Canvas) -> Colour:
    """Return the colour of one field: green, ripe, or bare earth."""
    rng, palette = canvas.rng, canvas.palette
    first, last = (
        palette.grass,
        palette.soil,
        ((188, 164, 92), (214, 192, 120)),
        (palette.foliage[2], palette.grass[1]),
    )[rng.integers(4)]
    mix = rng.random()
    return clip((*(a + mix * (b - a) for a, b in zip(first, last, strict=True)),))  # type: ignore[arg-type]
