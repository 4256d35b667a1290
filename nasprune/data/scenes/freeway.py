"""The freeway: two carriageways with lanes and traffic."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import PAINT, grey, shade
from nasprune.data.scenes.shapes import aside, bend, box, boxes
from nasprune.data.scenes.things import cars, clumps, flat_roof, houses, pick, road, shadow

_YELLOW = (206, 170, 60)


def freeway(canvas: Canvas) -> None:
    """Two carriageways with lanes and traffic, a median between; sometimes a bridge over it, or a ramp."""
    rng, reach = canvas.rng, canvas.reach
    lanes = int(rng.integers(2, 5))
    half = lanes * 3.6 + rng.uniform(2.0, 5.0)
    median = rng.choice([rng.uniform(1.0, 2.5), rng.uniform(5.0, 22.0)])
    tarmac = grey(rng, 62, 165)
    line = bend(
        canvas, rng.uniform(-0.15, 0.15) * canvas.metres, curve=rng.choice([0.0, rng.uniform(-0.25, 0.25)])
    )
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
        np.stack([x, y], axis=1)[lorries],
        np.full(lorries.sum(), 15.0),
        np.full(lorries.sum(), 2.5),
        angles[lorries],
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
