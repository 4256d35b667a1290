"""The runway: one wide strip with a broken centre line."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, grey, shade
from nasprune.data.scenes.shapes import box, boxes
from nasprune.data.scenes.things import aeroplane, clumps

_YELLOW = (206, 170, 60)


def runway(canvas: Canvas) -> None:
    """One wide strip with a broken centre line; sometimes its end, a taxiway, an aeroplane."""
    rng, reach = canvas.rng, canvas.reach
    if rng.random() < 0.5:
        canvas.image.paste(canvas.texture((canvas.palette.soil[0], canvas.palette.grass[1])))
    width = rng.uniform(26, 52)
    offset = rng.uniform(-0.22, 0.22) * canvas.metres
    ends = rng.random() < 0.45
    start = rng.uniform(-0.6, 0.1) * reach if ends else -1.2 * reach
    tarmac = grey(rng, 62, 165)
    _taxiways(canvas, offset, width)
    strip = np.array([[start, offset - width / 2], [reach * 1.2, offset - width / 2]])
    strip = np.vstack([strip, [[reach * 1.2, offset + width / 2], [start, offset + width / 2]]])
    if ends and rng.random() < 0.6:  # the overrun, of poorer stuff
        canvas.polygon(box((start - 30, offset), 60, width, 0.0), shade(tarmac, rng.uniform(0.75, 1.3)))
    canvas.lay(canvas.texture((shade(tarmac, 0.9), shade(tarmac, 1.1))), [strip])
    _rubber(canvas, start, offset, width)
    if rng.random() < 0.7:
        for side in (-1, 1):
            canvas.polygon(
                box((0.0, offset + side * 0.46 * width), 2.4 * reach, 0.9, 0.0), PAINT
            ) if not ends else (
                canvas.polygon(
                    box((start + 1.2 * reach, offset + side * 0.46 * width), 2.4 * reach, 0.9, 0.0), PAINT
                )
            )
    first = start + (70 if ends else rng.uniform(0, 40))
    line = np.array([[first, offset], [reach * 1.2, offset]])
    if first < reach:
        canvas.dashes(line, width=rng.uniform(0.9, 1.8), length=30.0, gap=20.0, colour=PAINT)
    if ends:
        _threshold(canvas, start, offset, width)
    if rng.random() < 0.2:
        aeroplane(
            canvas, (rng.uniform(-0.4, 0.6) * reach, offset), rng.uniform(24, 42), rng.choice([0, math.pi])
        )
    if rng.random() < 0.25:
        clumps(canvas, 1)


def _taxiways(canvas: Canvas, offset: float, width: float) -> None:
    """Draw a parallel taxiway, and ways across, in some of the pictures."""
    rng, reach = canvas.rng, canvas.reach
    tarmac = grey(rng, 90, 165)
    side = rng.choice([-1, 1])
    if rng.random() < 0.4:
        beside = offset + side * (width / 2 + rng.uniform(25, 60))
        canvas.polygon(box((0.0, beside), 2.4 * reach, 16.0, 0.0), tarmac)
        canvas.stroke([[-1.2 * reach, beside], [1.2 * reach, beside]], 0.5, _YELLOW)
    if rng.random() < 0.5:
        x, lean = rng.uniform(-0.5, 0.5) * reach, rng.uniform(-40, 40)
        ways = [[x, offset], [x + lean, offset + side * 1.2 * reach]]
        canvas.stroke(ways, 16.0, tarmac)
        canvas.stroke(ways, 0.5, _YELLOW)


def _rubber(canvas: Canvas, start: float, offset: float, width: float) -> None:
    """Darken the middle where wheels touch the ground."""
    rng = canvas.rng
    for _ in range(int(rng.integers(3, 12))):
        x, y = start + rng.uniform(20, canvas.metres), offset + rng.normal(0.0, width / 9)
        canvas.polygon(box((x, y), rng.uniform(30, 120), rng.uniform(1, 3), 0.0), (26, 26, 28), opacity=0.16)


def _threshold(canvas: Canvas, start: float, offset: float, width: float) -> None:
    """Draw the stripes across the end of a runway, its number and its aiming marks."""
    count = 2 * int(width // 7)
    across = (np.arange(count) - (count - 1) / 2) * (0.88 * width / count)
    at = np.stack([np.full(count, start + 18.0), offset + across], axis=1)
    bars = boxes(at, np.full(count, 24.0), np.full(count, 0.45 * 0.88 * width / count), np.zeros(count))
    canvas.polygons(bars, [PAINT] * count)
    for side in (-1, 1):
        canvas.polygon(box((start + 44, offset + side * 3.2), 9, 3.2, 0.0), PAINT)
        canvas.polygon(box((start + 100, offset + side * 0.22 * width), 40, 0.1 * width, 0.0), PAINT)
