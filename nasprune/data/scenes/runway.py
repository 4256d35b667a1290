"""The runway: one wide strip with a broken centre line."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, YELLOW, grey, shade
from nasprune.data.scenes.shapes import box, boxes, pairs
from nasprune.data.scenes.things import aeroplane, clumps

_TAXIWAY = 16.0  # metres


def runway(canvas: Canvas) -> None:
    """Draw a runway; sometimes its end, a taxiway, an aeroplane."""
    rng, reach = canvas.rng, canvas.reach
    if rng.random() < 0.5:
        canvas.cover((canvas.palette.soil[0], canvas.palette.grass[1]))
    width = rng.uniform(26, 52)
    offset = rng.uniform(-0.22, 0.22) * canvas.metres
    ends = rng.random() < 0.45
    start, end = (rng.uniform(-0.6, 0.1) if ends else -1.2) * reach, 1.2 * reach
    tarmac = grey(rng, 62, 165)
    _taxiways(canvas, offset, width)
    if ends and rng.random() < 0.6:  # the overrun, of poorer stuff
        canvas.polygon(box(start - 30, offset, 60, width), shade(tarmac, rng.uniform(0.75, 1.3)))
    middle, length = (start + end) / 2, end - start
    canvas.lay((shade(tarmac, 0.9), shade(tarmac, 1.1)), box(middle, offset, length, width))
    _rubber(canvas, start, offset, width)
    if rng.random() < 0.7:
        for side in (-0.46, 0.46):
            canvas.polygon(box(middle, offset + side * width, length, 0.9), PAINT)
    first = start + (70 if ends else rng.uniform(0, 40))
    line = np.array([[first, offset], [max(end, first + 1), offset]])
    canvas.dashes(line, width=rng.uniform(0.9, 1.8), length=30.0, gap=20.0, colour=PAINT)
    if ends:
        _threshold(canvas, start, offset, width)
    if rng.random() < 0.2:
        x, angle = rng.uniform(-0.4, 0.6) * reach, rng.choice([0.0, math.pi])
        aeroplane(canvas, max(x, start + 20), offset, span=rng.uniform(24, 42), angle=angle)
    if rng.random() < 0.25:
        clumps(canvas, 1)


def _taxiways(canvas: Canvas, offset: float, width: float) -> None:
    """Draw a parallel taxiway, and ways across, in some of the pictures."""
    rng, reach = canvas.rng, canvas.reach
    tarmac = grey(rng, 90, 165)
    side = rng.choice([-1, 1])
    ways = []
    if rng.random() < 0.4:
        y = offset + side * (width / 2 + rng.uniform(25, 60))
        ways.append([[-1.2 * reach, y], [1.2 * reach, y]])
    if rng.random() < 0.5:
        x = rng.uniform(-0.5, 0.5) * reach
        ways.append([[x, offset], [x + rng.uniform(-40, 40), offset + side * 1.2 * reach]])
    for way in ways:
        canvas.stroke(way, _TAXIWAY, tarmac)
    for way in ways:
        canvas.stroke(way, 0.5, YELLOW)


def _rubber(canvas: Canvas, start: float, offset: float, width: float) -> None:
    """Darken the middle where wheels touch the ground."""
    rng = canvas.rng
    for _ in range(int(rng.integers(3, 12))):
        x, y = start + rng.uniform(20, canvas.metres), offset + rng.normal(0.0, width / 9)
        canvas.polygon(box(x, y, rng.uniform(30, 120), rng.uniform(1, 3)), (26, 26, 28), opacity=0.16)


def _threshold(canvas: Canvas, start: float, offset: float, width: float) -> None:
    """Draw the stripes across the end of a runway, its number and its aiming marks."""
    count = 2 * int(width // 7)
    pitch = 0.88 * width / count
    stripes = pairs(start + 18.0, offset + (np.arange(count) - (count - 1) / 2) * pitch)
    canvas.polygons(boxes(stripes, 24.0, 0.45 * pitch, 0.0), PAINT)
    for side in (-1, 1):
        canvas.polygon(box(start + 44, offset + side * 3.2, 9, 3.2), PAINT)
        canvas.polygon(box(start + 100, offset + side * 0.22 * width, 40, 0.1 * width), PAINT)
