"""The freeway: two carriageways with lanes and traffic."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, SHADE, YELLOW, Colour, grey, shade
from nasprune.data.scenes.shapes import Floats, across, beside, box, boxes, height_at, pairs
from nasprune.data.scenes.things import cars, clumps, flat_roof, houses, pick, road, shadow

_LANE = 3.6  # metres
_LORRIES: tuple[Colour, ...] = ((232, 232, 232), (180, 60, 50), (90, 110, 150))


def freeway(canvas: Canvas) -> None:
    """Draw two carriageways with a median between; sometimes a ramp, or a bridge over them."""
    rng = canvas.rng
    lanes = int(rng.integers(2, 5))
    width = lanes * _LANE + rng.uniform(2.0, 5.0)
    median = rng.choice([rng.uniform(1.0, 2.5), rng.uniform(5.0, 22.0)])
    tarmac = grey(rng, 62, 165)
    curve = rng.choice([0.0, rng.uniform(-0.25, 0.25)])
    line = across(canvas.reach, rng.uniform(-0.15, 0.15) * canvas.metres, curve=curve)
    _roadside(canvas, line, width + median / 2)
    if rng.random() < 0.35:
        offset = line[6, 1] + rng.choice([-1, 1]) * (width + median)
        ramp = across(canvas.reach, offset, curve=rng.uniform(0.1, 0.5))
        canvas.stroke(ramp, 8.0, shade(tarmac, 1.08))
        _traffic(canvas, ramp, 1.5, 0.0)
    if median < 3:
        canvas.stroke(line, 2 * width + median, tarmac)
        canvas.stroke(line, median * 0.6, canvas.palette.concrete if rng.random() < 0.6 else YELLOW)
    density = rng.uniform(0.4, 4.0)
    for side in (-1, 1):
        middle = beside(line, side * (width + median) / 2)
        canvas.stroke(middle, width, tarmac)
        for edge in (-0.46, 0.46):
            canvas.stroke(beside(middle, edge * width), 0.35, PAINT)
        for lane in range(lanes):
            at = (lane - (lanes - 1) / 2) * _LANE
            if lane:
                mark = beside(middle, at - _LANE / 2)
                canvas.dashes(mark, width=0.35, length=4.0, gap=8.0, colour=PAINT)
            _traffic(canvas, beside(middle, at), density, math.pi * (side > 0))
    if rng.random() < 0.22:
        _overpass(canvas, line)


def _traffic(canvas: Canvas, lane: Floats, density: float, turn: float) -> None:
    """Put cars and lorries on a lane (points, 2), `density` for every 100 m, turned by `turn` radians."""
    rng = canvas.rng
    count = int(rng.poisson(density * 2.3 * canvas.reach / 100))
    x = rng.uniform(lane[0, 0], lane[-1, 0], count)
    at = pairs(x, height_at(lane, x))
    slope = np.interp(x, lane[:, 0], np.gradient(lane[:, 1], lane[:, 0]))
    angles = np.arctan(slope) + turn
    heavy = rng.random(count) < 0.12
    cars(canvas, at[~heavy], angles[~heavy])
    lorries = boxes(at[heavy], 15.0, 2.5, angles[heavy])
    shadow(canvas, lorries, 3.0)
    canvas.polygons(lorries, pick(canvas, _LORRIES, len(lorries)))


def _roadside(canvas: Canvas, line: Floats, half: float) -> None:
    """Draw what lies beside a freeway that reaches `half` metres from its line (points, 2)."""
    rng = canvas.rng
    clumps(canvas, int(rng.integers(0, 14)))
    side = rng.choice([-1, 1])
    if rng.random() < 0.4:
        away = half + rng.uniform(12, 25)
        road(canvas, beside(line, side * away), 6.0, traffic=2.0)
        x = np.arange(-canvas.reach, canvas.reach, rng.uniform(14, 24))
        row = pairs(x, height_at(line, x) + side * (away + 14))
        count = len(row)
        houses(canvas, row, rng.uniform(9, 15, count), rng.uniform(7, 11, count), rng.normal(0, 0.08, count))
    elif rng.random() < 0.3:
        along, up = rng.uniform(-0.5, 0.5) * canvas.reach, line[6, 1] + side * (half + 30)
        flat_roof(canvas, box(along, up, rng.uniform(25, 60), rng.uniform(18, 30)), canvas.palette.concrete)


def _overpass(canvas: Canvas, line: Floats) -> None:
    """Draw a bridge across the freeway."""
    rng = canvas.rng
    x = rng.uniform(-0.4, 0.4) * canvas.reach
    lean = rng.uniform(-0.35, 0.35)
    ahead = 1.5 * canvas.reach * np.array([math.sin(lean), math.cos(lean)])
    middle = np.array([x, np.interp(x, line[:, 0], line[:, 1])])
    deck = np.stack([middle - ahead, middle + ahead])
    canvas.stroke(deck + canvas.sun * 7.0, 11.0, SHADE, opacity=0.45)
    road(canvas, deck, 9.0, traffic=2.0)
