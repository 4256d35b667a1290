"""The river: water that winds through land."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import aside, bend, wander
from nasprune.data.scenes.things import boats, clumps, houses, road, spots, trees


def river(canvas: Canvas) -> None:
    """Water that winds through the picture with land on both banks; sometimes a bridge or sandbanks."""
    rng, reach, palette = canvas.rng, canvas.reach, canvas.palette
    width = rng.uniform(0.16, 0.42) * canvas.metres
    line = wander(canvas, rng.uniform(-0.2, 0.2) * reach, swing=rng.uniform(0.05, 0.32), turns=(0.6, 1.8))
    _valley(canvas, line, width)
    spread = width * (
        1 + 0.25 * np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, 6), rng.normal(0, 0.7, 6))
    )
    left, right = line + 0.5 * spread[:, None] * [0, 1], line - 0.5 * spread[:, None] * [0, 1]
    bank = rng.uniform(1.0, 7.0)
    canvas.lay(
        canvas.texture(palette.soil if rng.random() < 0.6 else palette.sand),
        [np.vstack([left + [0, bank], (right - [0, bank])[::-1]])],
    )
    canvas.lay(canvas.texture(palette.water), [np.vstack([left, right[::-1]])])
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            at = line[rng.integers(len(line))] + rng.normal(0, 0.2 * width, 2)
            angles = np.linspace(0, 2 * math.pi, 12, endpoint=False)
            bar = np.stack(
                [np.cos(angles) * rng.uniform(8, 30), np.sin(angles) * rng.uniform(2, 0.2 * width)], axis=1
            )
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
        canvas.lay(
            canvas.texture(canvas.palette.soil), [np.vstack([aside(field, 2 * canvas.reach), field[::-1]])]
        )
    elif kind < 0.75:
        path = line + [0.0, rng.choice([-1, 1]) * (width / 2 + rng.uniform(18, 30))]
        road(canvas, path, 6.0, traffic=2.0)
        row = path[:: int(rng.integers(1, 4))] + [0.0, 14.0]
        houses(
            canvas,
            row,
            rng.uniform(9, 16, len(row)),
            rng.uniform(8, 11, len(row)),
            rng.normal(0, 0.4, len(row)),
        )
    clumps(canvas, int(rng.integers(0, 10)))
