"""Fields: a patchwork with the rows of the plough in it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import Colour, mix
from nasprune.data.scenes.shapes import Floats, box
from nasprune.data.scenes.things import clumps, houses, road, spots, trees

_RIPE: tuple[Colour, Colour] = ((188, 164, 92), (214, 192, 120))


def crop_fields(canvas: Canvas) -> None:
    """Draw fields, sometimes round ones; some pictures with hedges, a track or a farm."""
    rng, reach = canvas.rng, canvas.reach
    skew = np.array([[1.0, rng.uniform(-0.25, 0.25)], [0.0, 1.0]])
    fields = [field @ skew for field in _partition(canvas, -reach, reach, -reach, reach)]
    pivots = rng.random() < 0.22  # fields that an arm waters as it goes round
    _plough(canvas, _numbered(canvas, fields, pivots=pivots), len(fields))
    for field in fields:
        if not pivots and rng.random() < 0.75:
            canvas.stroke(np.vstack([field, field[:1]]), rng.uniform(1.5, 4.0), canvas.palette.soil[1])
        if rng.random() < 0.15:
            hedge = np.linspace(field[0], field[1], int(rng.integers(6, 20)))
            trees(canvas, hedge + rng.normal(0, 1.5, hedge.shape), rng.uniform(2, 5, len(hedge)))
    if rng.random() < 0.35:
        start, end = fields[int(rng.integers(len(fields)))][:2]
        ahead = 3 * reach * (end - start) / np.linalg.norm(end - start)
        road(canvas, np.stack([start - ahead, start + ahead]), 5.0, kerb=False)
    if rng.random() < 0.25:
        _farm(canvas)
    clumps(canvas, int(rng.integers(0, 3)))


def _farm(canvas: Canvas) -> None:
    """Draw a yard with one to three barns."""
    rng = canvas.rng
    ((x, y),) = spots(canvas, 1, spread=0.5)
    count = int(rng.integers(1, 4))
    canvas.polygon(box(x, y, 50, 40), canvas.palette.soil[0])
    barns = np.array([x, y]) + rng.normal(0, 12, (count, 2))
    angles = rng.choice([0.0, math.pi / 2], count)
    houses(canvas, barns, rng.uniform(14, 26, count), rng.uniform(9, 13, count), angles)


def _partition(canvas: Canvas, left: float, right: float, bottom: float, top: float) -> list[Floats]:
    """Cut a rectangle into fields, each (4, 2) in metres, by cuts that fall at random."""
    rng, width, height = canvas.rng, right - left, top - bottom
    small = canvas.metres * rng.uniform(0.3, 0.75)
    if max(width, height) < small or min(width, height) < 0.12 * canvas.metres:
        return [np.array([[left, bottom], [right, bottom], [right, top], [left, top]])]
    cut = rng.uniform(0.3, 0.7)
    if width > height:
        x = left + cut * width
        return _partition(canvas, left, x, bottom, top) + _partition(canvas, x, right, bottom, top)
    y = bottom + cut * height
    return _partition(canvas, left, right, bottom, y) + _partition(canvas, left, right, y, top)


def _numbered(canvas: Canvas, fields: list[Floats], *, pivots: bool) -> NDArray[np.uint8]:
    """Return which field every pixel of the drawing lies in, (side, side): 0 for none, 1 for the first."""
    picture = Image.new("L", canvas.image.size)
    pen = ImageDraw.Draw(picture)
    for number, field in enumerate(fields, start=1):
        corners = canvas.pixels(field)
        if pivots:
            low, high = corners.min(axis=0), corners.max(axis=0)
            middle, radius = (low + high) / 2, 0.46 * float(np.min(high - low))
            pen.ellipse([*(middle - radius), *(middle + radius)], fill=number)
        else:
            pen.polygon(corners.ravel().tolist(), fill=number)
    return np.asarray(picture)


def _plough(canvas: Canvas, fields: NDArray[np.uint8], count: int) -> None:
    """Colour the fields and draw their rows; (side, side) holds 0 for none, 1 to `count` for the fields."""
    rng = canvas.rng
    colours = np.array([canvas.palette.soil[1], *(_crop(canvas) for _ in range(count))], np.float32)
    angles = rng.choice([0.0, math.pi / 2], count + 1) + canvas.heading + rng.normal(0, 0.04, count + 1)
    # A row is 2.5 to 9 m wide: narrower ones would fall between the pixels of a small picture.
    waves = 2 * math.pi / canvas.dots(1.0) / rng.uniform(2.5, 9.0, count + 1)
    depth = (rng.uniform(0.0, 0.28, count + 1) * (rng.random(count + 1) < 0.75)).astype(np.float32)
    down, across = np.indices(fields.shape, np.float32)
    phase = across * (np.cos(angles) * waves).astype(np.float32)[fields]
    phase += down * (np.sin(angles) * waves).astype(np.float32)[fields]
    pixels = colours[fields] * (1.0 + depth[fields] * np.sin(phase))[..., None]
    light = np.asarray(canvas.texture(((86, 86, 86), (170, 170, 170))), np.float32) / 128.0
    canvas.image.paste(Image.fromarray(np.clip(pixels * light, 0, 255).astype(np.uint8)))


def _crop(canvas: Canvas) -> Colour:
    """Return the colour of one field: grass, bare earth, ripe, or dark green."""
    rng, palette = canvas.rng, canvas.palette
    kinds = (palette.grass, palette.soil, _RIPE, (palette.foliage[2], palette.grass[1]))
    return mix(*kinds[rng.integers(len(kinds))], rng.random())
