"""The beach: bands of sea, sand and land along a coast."""

from __future__ import annotations

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import shade
from nasprune.data.scenes.shapes import wander
from nasprune.data.scenes.things import boats, houses, road, spots, trees

_FOAM = (236, 240, 240)


def beach(canvas: Canvas) -> None:
    """Bands along a coast: sea with surf, wet and dry sand, then grass, trees or a promenade."""
    rng, reach = canvas.rng, canvas.reach
    coast = wander(canvas, rng.uniform(-0.25, 0.3) * reach, swing=rng.uniform(0.02, 0.14), turns=(0.5, 2.0))
    width = rng.uniform(0.2, 0.75) * reach
    palette = canvas.palette
    inland = coast + [0.0, 1.0] * np.array(width)
    inland = inland + np.stack([np.zeros(len(coast)), rng.normal(0, 0.02 * reach, len(coast))], axis=1)
    canvas.lay(canvas.texture(palette.sand), [_above(canvas, coast)])
    canvas.lay(canvas.texture(palette.grass), [_above(canvas, inland)])
    _inland(canvas, inland)
    canvas.lay(
        canvas.texture((shade(palette.sand[0], 0.68), shade(palette.sand[1], 0.75))),
        [_below(canvas, coast + [0.0, 3.5])],
    )
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
        boats(
            canvas,
            spots(canvas, 2) * [1, 0.2] - [0, 0.6 * reach],
            rng.uniform(5, 10, 2),
            rng.uniform(0, 6, 2),
        )


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


def _above(canvas: Canvas, line: Floats) -> Floats:
    """Return the outline of everything above a line (points, 2)."""
    far = 1.5 * canvas.reach
    return np.vstack([line, [[far, far], [-far, far]]])


def _below(canvas: Canvas, line: Floats) -> Floats:
    """Return the outline of everything below a line (points, 2)."""
    far = 1.5 * canvas.reach
    return np.vstack([line, [[far, -far], [-far, -far]]])
