"""Long straight lines of asphalt: the runway and the freeway."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import PAINT, grey, shade
from nasprune.data.scenes.things import (
    aeroplane,
    aside,
    bend,
    box,
    boxes,
    cars,
    clumps,
    flat_roof,
    houses,
    pick,
    road,
    shadow,
)

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
            canvas.polygon(box((0.0, offset + side * 0.46 * width), 2.4 * reach, 0.9, 0.0), PAINT) if not ends else (
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
        aeroplane(canvas, (rng.uniform(-0.4, 0.6) * reach, offset), rng.uniform(24, 42), rng.choice([0, math.pi]))
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


def freeway(canvas: Canvas) -> None:
    """Two carriageways with lanes and traffic, a median between; sometimes a bridge over it, or a ramp."""
    rng, reach = canvas.rng, canvas.reach
    lanes = int(rng.integers(2, 5))
    half = lanes * 3.6 + rng.uniform(2.0, 5.0)
    median = rng.choice([rng.uniform(1.0, 2.5), rng.uniform(5.0, 22.0)])
    tarmac = grey(rng, 62, 165)
    line = bend(canvas, rng.uniform(-0.15, 0.15) * canvas.metres, curve=rng.choice([0.0, rng.uniform(-0.25, 0.25)]))
    _roadside(canvas, line, half + median / 2)
    if rng.random() < 0.35:
        ramp = bend(canvas, line[6, 1] + rng.choice([-1, 1]) * (half + median), curve=rng.uniform(0.1, 0.5))
        canvas.stroke(ramp, 8.0, shade(tarmac, 1.08))
        _traffic(canvas, ramp, 1.5, 0.0)
    if median < 3:
        canvas.stroke(line, 2 * half + median, tarmac)
        canvas.stroke(line, median * 0.6, canvas.palette.concrete if rng.random() < 0.6 else _YELLOW)
    density = rng.uniform(0.4, 4.0)
    for side in (-1, 1):
        middle = aside(line, side * (half + median) / 2)
        canvas.stroke(middle, half, tarmac)
        for edge in (-0.46, 0.46):
            canvas.stroke(aside(middle, edge * half), 0.35, PAINT)
        for lane in range(lanes):
            at = (lane - (lanes - 1) / 2) * 3.6
            if lane:
                canvas.dashes(aside(middle, at - 1.8), width=0.35, length=4.0, gap=8.0, colour=PAINT)
            _traffic(canvas, aside(middle, at), density, math.pi * (side > 0))
    if rng.random() < 0.22:
        _overpass(canvas, line, rng.uniform(-0.4, 0.4) * reach)


def _traffic(canvas: Canvas, lane: Floats, density: float, turn: float) -> None:
    """Put cars and lorries on a lane (points, 2), `density` for every 100 m."""
    rng = canvas.rng
    count = int(rng.poisson(density * 2.3 * canvas.reach / 100))
    if count == 0:
        return
    x = rng.uniform(lane[0, 0], lane[-1, 0], count)
    order = np.argsort(lane[:, 0])
    y = np.interp(x, lane[order, 0], lane[order, 1])
    slope = np.interp(x, lane[order, 0], np.gradient(lane[order, 1], lane[order, 0]))
    angles = np.arctan(slope) + turn
    cars(canvas, np.stack([x, y], axis=1), angles)
    lorries = rng.random(count) < 0.12
    bodies = boxes(
        np.stack([x, y], axis=1)[lorries], np.full(lorries.sum(), 15.0), np.full(lorries.sum(), 2.5), angles[lorries]
    )
    shadow(canvas, bodies, 3.0)
    canvas.polygons(bodies, pick(canvas, ((232, 232, 232), (180, 60, 50), (90, 110, 150)), len(bodies)))


def _roadside(canvas: Canvas, line: Floats, half: float) -> None:
    """Draw what lies beside a freeway: trees, houses, a flat building, a service road."""
    rng = canvas.rng
    clumps(canvas, int(rng.integers(0, 14)))
    side = rng.choice([-1, 1])
    if rng.random() < 0.4:
        beside = half + rng.uniform(12, 25)
        road(canvas, aside(line, side * beside), 6.0, traffic=2.0)
        x = np.arange(-canvas.reach, canvas.reach, rng.uniform(14, 24))
        row = np.stack([x, np.interp(x, line[:, 0], line[:, 1]) + side * (beside + 14)], axis=1)
        count = len(row)
        houses(canvas, row, rng.uniform(9, 15, count), rng.uniform(7, 11, count), rng.normal(0, 0.08, count))
    elif rng.random() < 0.3:
        at = (rng.uniform(-0.5, 0.5) * canvas.reach, line[6, 1] + side * (half + 30))
        flat_roof(canvas, box(at, rng.uniform(25, 60), rng.uniform(18, 30), 0.0), canvas.palette.concrete)


def _overpass(canvas: Canvas, line: Floats, x: float) -> None:
    """Draw a bridge across the freeway at x."""
    rng = canvas.rng
    lean = rng.uniform(-0.35, 0.35)
    ahead = np.array([math.sin(lean), math.cos(lean)])
    middle = np.array([x, np.interp(x, line[:, 0], line[:, 1])])
    deck = np.stack([middle - 1.5 * canvas.reach * ahead, middle + 1.5 * canvas.reach * ahead])
    canvas.stroke(deck + canvas.sun * 7.0, 11.0, (18, 22, 30), opacity=0.45)
    road(canvas, deck, 9.0, traffic=2.0)
