"""What stands on the ground in many classes alike: trees, houses, cars, roads, boats, aeroplanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasprune.data.scenes.canvas import Canvas, Floats
from nasprune.data.scenes.palette import CARS, PAINT, Colour, shade
from nasprune.data.scenes.shapes import box, boxes, outlines

_SHADE: Colour = (18, 22, 30)
_HULLS: tuple[Colour, ...] = ((240, 240, 238), (240, 240, 238), (214, 210, 200), (70, 96, 140), (150, 60, 50))


def spots(canvas: Canvas, count: int, *, spread: float = 1.0) -> Floats:
    """Return random places (count, 2) within `spread` times the reach of the picture."""
    return canvas.rng.uniform(-canvas.reach * spread, canvas.reach * spread, (count, 2))


def pick(canvas: Canvas, colours: Sequence[Colour], count: int) -> list[Colour]:
    """Return `count` colours drawn from a list, each a little lighter or darker."""
    which = canvas.rng.integers(len(colours), size=count)
    factors = canvas.rng.uniform(0.85, 1.15, count)
    return [shade(colours[i], factor) for i, factor in zip(which, factors, strict=True)]


def trees(canvas: Canvas, centres: Floats, radii: Floats) -> None:
    """Draw crowns at centres (N, 2) with radii (N,), in metres, and the shadows they throw."""
    colours = pick(canvas, canvas.palette.foliage, len(centres))
    seen = canvas.visible(centres, 8.0)
    centres, radii = centres[seen], radii[seen]
    colours = [colour for colour, inside in zip(colours, seen, strict=True) if inside]
    canvas.discs(centres + canvas.sun * (0.9 * radii)[:, None], radii, [_SHADE] * len(radii), opacity=0.45)
    canvas.discs(centres, radii, colours)
    large = radii > 1.6
    if large.any():
        lit = [shade(colour, 1.25) for colour, tall in zip(colours, large, strict=True) if tall]
        offset = canvas.sun / np.linalg.norm(canvas.sun)
        canvas.discs(centres[large] - offset * (0.3 * radii[large])[:, None], 0.55 * radii[large], lit)


def clumps(canvas: Canvas, groves: int, *, trees_each: tuple[int, int] = (3, 14)) -> None:
    """Scatter groves of trees anywhere in the picture."""
    rng = canvas.rng
    for middle in spots(canvas, groves):
        count = int(rng.integers(*trees_each, endpoint=True))
        trees(canvas, middle + rng.normal(0.0, 7.0, (count, 2)), rng.uniform(1.4, 4.5, count))


def houses(canvas: Canvas, centres: Floats, lengths: Floats, widths: Floats, angles: Floats) -> None:
    """Draw ridged roofs at centres (N, 2), with sizes (N,) in metres and ridges along angles (N,)."""
    roofs = pick(canvas, canvas.palette.roofs, len(centres))
    hipped = canvas.rng.random() < 0.5
    height = canvas.rng.uniform(3.5, 7.0)
    seen = canvas.visible(centres, 15.0)
    centres, lengths, widths, angles = centres[seen], lengths[seen], widths[seen], angles[seen]
    roofs = [roof for roof, inside in zip(roofs, seen, strict=True) if inside]
    ground = boxes(centres, lengths, widths, angles)
    shadow(canvas, ground, height)
    canvas.polygons(ground, roofs)
    inset = 0.22 if hipped else 0.5
    half = np.array([[-0.5, 0.5], [0.5, 0.5], [inset, 0.0], [-inset, 0.0]])
    # The half that looks at the sun is light, the other dark.
    sides = np.stack([-np.sin(angles), np.cos(angles)], axis=1) @ canvas.sun
    dark = [shade(roof, 0.72 if side > 0 else 1.22) for roof, side in zip(roofs, sides, strict=True)]
    canvas.polygons(outlines(half, centres, lengths, widths, angles), dark)
    if hipped:
        gable = np.array([[-0.5, -0.5], [-0.5, 0.5], [-inset, 0.0]])
        canvas.polygons(
            outlines(gable, centres, lengths, widths, angles), [shade(roof, 0.86) for roof in roofs]
        )


def flat_roof(canvas: Canvas, outline: Floats, colour: Colour, *, height: float = 8.0) -> None:
    """Draw one flat building, outline (corners, 2) in metres, with its parapet and machines."""
    shadow(canvas, outline[None], height)
    canvas.polygon(outline, shade(colour, 0.8))
    middle = outline.mean(axis=0)
    canvas.polygon(middle + 0.94 * (outline - middle), colour)
    for _ in range(int(canvas.rng.integers(0, 5))):
        at = middle + canvas.rng.uniform(-0.3, 0.3, 2) @ (outline[[1, 3]] - outline[0])
        canvas.polygon(box((at[0], at[1]), *canvas.rng.uniform(1.5, 4.0, 2), 0.0), shade(colour, 0.65))


def shadow(canvas: Canvas, shapes: Floats, height: float) -> None:
    """Darken the ground beside shapes (N, corners, 2) that stand `height` metres tall."""
    fall = canvas.sun * height
    for step in (0.5, 1.0):  # twice, so that the shadow hangs together with what throws it
        canvas.polygons(shapes + fall * step, [_SHADE] * len(shapes), opacity=0.38)


def cars(canvas: Canvas, centres: Floats, angles: Floats) -> None:
    """Draw cars, vans and a few lorries at centres (N, 2), heading along angles (N,)."""
    colours = pick(canvas, CARS, len(centres))
    lengths, widths = canvas.rng.uniform(4.0, 5.2, len(centres)), canvas.rng.uniform(1.8, 2.1, len(centres))
    seen = canvas.visible(centres, 4.0)
    centres, angles, lengths, widths = centres[seen], angles[seen], lengths[seen], widths[seen]
    colours = [colour for colour, inside in zip(colours, seen, strict=True) if inside]
    bodies = boxes(centres, lengths, widths, angles)
    canvas.polygons(bodies + canvas.sun * 1.3, [_SHADE] * len(bodies), opacity=0.5)
    canvas.polygons(bodies, colours)
    if canvas.dots(1.0) > 1.2:  # below that, a windscreen is a fraction of a pixel
        ahead = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        glass = boxes(centres + 0.6 * ahead, 0.14 * lengths, 0.8 * widths, angles)
        canvas.polygons(glass, [(40, 46, 54)] * len(glass))


def road(canvas: Canvas, points: Floats, width: float, *, traffic: float = 0.0, kerb: bool = True) -> None:
    """Draw a two-lane road along points (points, 2), with `traffic` cars for every 100 m."""
    rng = canvas.rng
    if kerb:
        canvas.stroke(points, width + rng.uniform(1.5, 4.0), shade(canvas.palette.concrete, 0.95))
    canvas.stroke(points, width, canvas.palette.asphalt)
    if width > 6 and rng.random() < 0.6:
        canvas.dashes(points, width=0.4, length=3.0, gap=4.0, colour=PAINT)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    count = rng.poisson(traffic * lengths.sum() / 100)
    if count == 0:
        return
    where = rng.choice(len(steps), count, p=lengths / lengths.sum())
    ahead = steps[where] / lengths[where, None]
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) * rng.choice([-1, 1], count)[:, None] * width / 4
    at = points[where] + steps[where] * rng.random(count)[:, None] + aside
    cars(canvas, at, np.arctan2(ahead[:, 1], ahead[:, 0]))


def boats(canvas: Canvas, centres: Floats, lengths: Floats, angles: Floats) -> None:
    """Draw boats at centres (N, 2), `lengths` (N,) metres long, their bows towards angles (N,)."""
    hull = np.array(
        [[-0.5, -0.42], [0.15, -0.5], [0.36, -0.3], [0.5, 0.0], [0.36, 0.3], [0.15, 0.5], [-0.5, 0.42]]
    )
    widths = np.clip(0.32 * lengths, 1.8, 5.5)
    hulls = outlines(hull, centres, lengths, widths, angles)
    canvas.polygons(hulls + canvas.sun * 1.2, [_SHADE] * len(hulls), opacity=0.4)
    canvas.polygons(hulls, pick(canvas, _HULLS, len(hulls)))
    decks = pick(canvas, ((170, 150, 120), (120, 130, 150), (200, 200, 205), (70, 76, 92)), len(hulls))
    canvas.polygons(boxes(centres, 0.4 * lengths, 0.55 * widths, angles), decks)


def aeroplane(canvas: Canvas, centre: Sequence[float], span: float, angle: float) -> None:
    """Draw one airliner, `span` metres from wing tip to wing tip, its nose towards `angle`."""
    body = np.array(
        [[0.5, 0.0], [0.44, 0.04], [-0.4, 0.05], [-0.5, 0.01], [-0.5, -0.01], [-0.4, -0.05], [0.44, -0.04]]
    )
    wing = np.array([[0.16, 0.0], [-0.1, 0.5], [-0.18, 0.5], [-0.06, 0.0], [-0.18, -0.5], [-0.1, -0.5]])
    tail = np.array(
        [[-0.36, 0.0], [-0.48, 0.19], [-0.53, 0.19], [-0.46, 0.0], [-0.53, -0.19], [-0.48, -0.19]]
    )
    at, size, turn = np.array([centre], float), np.array([span]), np.array([angle])
    shapes = [outlines(shape, at, size, size, turn)[0] for shape in (wing, tail, body)]
    for shape in shapes:
        canvas.polygon(shape + canvas.sun * 4.0, _SHADE, opacity=0.4)
    for shape, colour in zip(shapes, ((214, 216, 220), (200, 204, 210), (244, 244, 244)), strict=True):
        canvas.polygon(shape, colour)
