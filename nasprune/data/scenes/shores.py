"""Where land meets water: the beach, the harbour and the river."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import PAINT, shade
from nasprune.data.scenes.things import (
    aside,
    bend,
    boats,
    box,
    cars,
    clumps,
    flat_roof,
    houses,
    road,
    spots,
    trees,
)

_FOAM = (236, 240, 240)


def beach(canvas: Canvas) -> None:
    """Bands along a coast: sea with surf, wet and dry sand, then grass, trees or a promenade."""
    rng, reach = canvas.rng, canvas.reach
    coast = _wander(canvas, rng.uniform(-0.25, 0.3) * reach, swing=rng.uniform(0.02, 0.14), turns=(0.5, 2.0))
    width = rng.uniform(0.2, 0.75) * reach
    palette = canvas.palette
    inland = coast + [0.0, 1.0] * np.array(width)
    inland = inland + np.stack([np.zeros(len(coast)), rng.normal(0, 0.02 * reach, len(coast))], axis=1)
    canvas.lay(canvas.texture(palette.sand), [_above(canvas, coast)])
    canvas.lay(canvas.texture(palette.grass), [_above(canvas, inland)])
    _inland(canvas, inland)
    canvas.lay(canvas.texture((shade(palette.sand[0], 0.68), shade(palette.sand[1], 0.75))), [_below(canvas, coast + [0.0, 3.5])])
    canvas.lay(canvas.texture((palette.water[0], palette.water[1])), [_below(canvas, coast)])
    for step, opacity in ((4, 0.28), (9, 0.2), (16, 0.14)):  # the shallows are lighter
        shallow = np.vstack([coast, (coast - [0.0, step * rng.uniform(0.8, 1.6)])[::-1]])
        canvas.polygon(shallow, shade(palette.water[1], 1.25), opacity=opacity)
    for _ in range(int(rng.integers(0, 5))):
        _breaker(canvas, coast, rng.uniform(0.0, 0.4) * reach)
    if rng.random() < 0.8:
        canvas.stroke(coast, rng.uniform(0.8, 2.5), _FOAM, opacity=0.85)
    if rng.random() < 0.45:
        _bathers(canvas, coast, width)
    if rng.random() < 0.15:
        boats(canvas, spots(canvas, 2) * [1, 0.2] - [0, 0.6 * reach], rng.uniform(5, 10, 2), rng.uniform(0, 6, 2))


def _breaker(canvas: Canvas, coast: Floats, out: float) -> None:
    """Draw one line of surf, `out` metres from the coast (points, 2)."""
    rng = canvas.rng
    first, last = sorted(rng.choice(len(coast), 2, replace=False))
    part = coast[first : last + 2] - [0.0, out] + rng.normal(0, 0.8, (len(coast[first : last + 2]), 2))
    if len(part) > 1:
        canvas.stroke(part, rng.uniform(0.6, 2.4), _FOAM, opacity=rng.uniform(0.4, 0.9))


def _bathers(canvas: Canvas, coast: Floats, width: float) -> None:
    """Draw rows of parasols on the sand."""
    rng = canvas.rng
    colours = [(196, 60, 52), (52, 96, 170), (232, 196, 80), (240, 240, 240), (70, 140, 90)]
    for row in range(int(rng.integers(1, 4))):
        x = np.arange(-canvas.reach, canvas.reach, rng.uniform(5, 9))
        x = x[rng.random(len(x)) < 0.6] + rng.normal(0, 0.6)
        at = np.stack([x, np.interp(x, coast[:, 0], coast[:, 1]) + 0.25 * width + 6 * row], axis=1)
        own = [colours[i] for i in rng.integers(len(colours), size=len(at))]
        canvas.discs(at + canvas.sun * 2, np.full(len(at), 1.5), [(60, 54, 46)] * len(at), opacity=0.5)
        canvas.discs(at, np.full(len(at), 1.5), own)


def _inland(canvas: Canvas, edge: Floats) -> None:
    """Draw what lies behind a beach whose inner edge is `edge` (points, 2)."""
    rng, kind = canvas.rng, canvas.rng.random()
    x = rng.uniform(-canvas.reach, canvas.reach, int(rng.integers(20, 90)))
    y = np.interp(x, edge[:, 0], edge[:, 1])
    if kind < 0.5:
        behind = np.stack([x, y + np.abs(rng.normal(0, 0.3 * canvas.reach, len(x)))], axis=1)
        trees(canvas, behind, rng.uniform(1.5, 4.5, len(x)))
    elif kind < 0.8:
        road(canvas, edge + [0.0, 8.0], 7.0, traffic=4.0)
        x = np.arange(-canvas.reach, canvas.reach, rng.uniform(16, 30))
        row = np.stack([x, np.interp(x, edge[:, 0], edge[:, 1]) + 26], axis=1)
        houses(canvas, row, rng.uniform(10, 18, len(x)), rng.uniform(8, 13, len(x)), np.zeros(len(x)))


def harbour(canvas: Canvas) -> None:
    """A basin with boats side by side along its jetties; mostly a quay."""
    rng, reach = canvas.rng, canvas.reach
    canvas.image.paste(canvas.texture(canvas.palette.water, coarse=0.5))
    wood = shade(canvas.palette.concrete, rng.uniform(0.7, 1.1))
    length = rng.uniform(7, 16)
    pitch = 2 * length + rng.uniform(7, 14)
    quay = rng.uniform(-0.95, -0.1) * reach
    filled = rng.uniform(0.4, 0.95)
    for x in np.arange(-reach, reach, pitch) + rng.uniform(0, pitch):
        end = quay + rng.uniform(0.9, 1.9) * reach
        canvas.stroke(np.array([[x, quay], [x, end]]) + canvas.sun * 1.5, 2.4, (14, 18, 26), opacity=0.4)
        for side in (-1, 1):
            slip = rng.uniform(0.36, 0.5) * length
            y = np.arange(quay + 6, end, slip)
            y = y[rng.random(len(y)) < filled]
            sizes = np.minimum(length * rng.uniform(0.65, 1.05, len(y)), 2.9 * slip)
            centres = np.stack([x + side * (1.6 + sizes / 2), y], axis=1)
            seen = canvas.visible(centres, 10.0)
            boats(canvas, centres[seen], sizes[seen], np.full(seen.sum(), 0.0 if side > 0 else math.pi))
        canvas.polygon(box((x, (quay + end) / 2), 2.2, end - quay, 0.0), wood)
    _quay(canvas, quay)
    if rng.random() < 0.35:
        at = spots(canvas, 2)
        boats(canvas, at, rng.uniform(6, 16, 2), rng.uniform(0, 2 * math.pi, 2))


def _quay(canvas: Canvas, edge: float) -> None:
    """Draw the land behind y = edge: paved or green, with cars, trees and sheds."""
    rng, reach = canvas.rng, canvas.reach
    land = np.array([[-1.2 * reach, edge], [1.2 * reach, edge], [1.2 * reach, -1.2 * reach], [-1.2 * reach, -1.2 * reach]])
    paved = canvas.palette.concrete if rng.random() < 0.6 else canvas.palette.asphalt
    canvas.lay(canvas.texture((shade(paved, 0.9), shade(paved, 1.08))), [land])
    canvas.stroke(land[:2], 1.6, shade(paved, 1.25))
    x = np.arange(-reach, reach, 3.2)
    x = x[rng.random(len(x)) < 0.6]
    cars(canvas, np.stack([x, np.full(len(x), edge - 9.0)], axis=1), np.full(len(x), math.pi / 2))
    if rng.random() < 0.5:
        canvas.lay(canvas.texture(canvas.palette.grass), [land - [0.0, rng.uniform(14, 20)]])
    if rng.random() < 0.5:
        outline = box((rng.uniform(-0.6, 0.6) * reach, edge - rng.uniform(28, 34)), rng.uniform(18, 40), 14, 0.0)
        flat_roof(canvas, outline, canvas.palette.roofs[0])


def river(canvas: Canvas) -> None:
    """Water that winds through the picture with land on both banks; sometimes a bridge or sandbanks."""
    rng, reach, palette = canvas.rng, canvas.reach, canvas.palette
    width = rng.uniform(0.12, 0.42) * canvas.metres
    line = _wander(canvas, rng.uniform(-0.2, 0.2) * reach, swing=rng.uniform(0.05, 0.32), turns=(0.6, 1.8))
    _valley(canvas, line, width)
    spread = width * (1 + 0.25 * np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, 6), rng.normal(0, 0.7, 6)))
    left, right = line + 0.5 * spread[:, None] * [0, 1], line - 0.5 * spread[:, None] * [0, 1]
    bank = rng.uniform(1.0, 7.0)
    canvas.lay(canvas.texture(palette.soil if rng.random() < 0.6 else palette.sand), [np.vstack([left + [0, bank], (right - [0, bank])[::-1]])])
    canvas.lay(canvas.texture(palette.water), [np.vstack([left, right[::-1]])])
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            at = line[rng.integers(len(line))] + rng.normal(0, 0.2 * width, 2)
            angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
            bar = np.stack([np.cos(angles) * rng.uniform(8, 30), np.sin(angles) * rng.uniform(2, 0.2 * width)], axis=1)
            canvas.lay(canvas.texture(palette.sand), [at + bar])
    x = rng.uniform(-reach, reach, int(rng.integers(10, 110)))
    side = rng.choice([-1.0, 1.0], len(x))
    y = np.interp(x, line[:, 0], line[:, 1]) + side * (0.58 * width + bank + np.abs(rng.normal(0, 6, len(x))))
    trees(canvas, np.stack([x, y], axis=1), rng.uniform(1.5, 4.5, len(x)))
    if rng.random() < 0.25:
        x_bridge = rng.uniform(-0.5, 0.5) * reach
        deck = np.array([[x_bridge, -1.3 * reach], [x_bridge + rng.uniform(-20, 20), 1.3 * reach]])
        canvas.stroke(deck + canvas.sun * 5, 10.0, (14, 18, 26), opacity=0.4)
        road(canvas, deck, rng.uniform(6, 10), traffic=3.0)
    if rng.random() < 0.2:
        at = line[rng.choice(len(line), 2, replace=False)]
        boats(canvas, at, rng.uniform(6, 14, 2), rng.uniform(-0.5, 0.5, 2))


def _valley(canvas: Canvas, line: Floats, width: float) -> None:
    """Draw the land a river runs through: meadows, wood, fields or a few houses."""
    rng, kind = canvas.rng, canvas.rng.random()
    if kind < 0.3:
        floor = [shade(colour, 0.75) for colour in canvas.palette.foliage]
        canvas.image.paste(canvas.texture((floor[0], floor[1])))
        at = spots(canvas, 260)
        trees(canvas, at, rng.uniform(2.5, 5.0, len(at)))
    elif kind < 0.5:
        field = bend(canvas, 0.0)
        canvas.lay(canvas.texture(canvas.palette.soil), [np.vstack([aside(field, 2 * canvas.reach), field[::-1]])])
    elif kind < 0.75:
        path = line + [0.0, rng.choice([-1, 1]) * (width / 2 + rng.uniform(18, 30))]
        road(canvas, path, 6.0, traffic=2.0)
        row = path[:: int(rng.integers(1, 4))] + [0.0, 14.0]
        houses(canvas, row, rng.uniform(9, 16, len(row)), rng.uniform(8, 11, len(row)), rng.normal(0, 0.4, len(row)))
    clumps(canvas, int(rng.integers(0, 10)))


def _wander(canvas: Canvas, offset: float, *, swing: float, turns: tuple[float, float]) -> Floats:
    """Return a winding line (points, 2) through the picture; swing is a share of the reach."""
    rng, along = canvas.rng, np.linspace(-1.2, 1.2, 33)
    first, second = rng.uniform(*turns), rng.uniform(2.0, 4.0)
    wave = np.sin(math.pi * first * along + rng.uniform(0, 6)) + 0.3 * np.sin(math.pi * second * along + rng.uniform(0, 6))
    return np.stack([along * canvas.reach, offset + swing * canvas.reach * wave], axis=1)


def _above(canvas: Canvas, line: Floats) -> Floats:
    """Return the outline of everything above a line (points, 2)."""
    far = 1.5 * canvas.reach
    return np.vstack([line, [[far, far], [-far, far]]])


def _below(canvas: Canvas, line: Floats) -> Floats:
    """Return the outline of everything below a line (points, 2)."""
    far = 1.5 * canvas.reach
    return np.vstack([line, [[far, -far], [-far, -far]]])
