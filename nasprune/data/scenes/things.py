"""What stands on the ground in many classes alike: trees, houses, cars, roads, boats, aeroplanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import CARS, PAINT, SHADE, Colour, shade
from nasprune.data.scenes.shapes import Floats, box, boxes, each, left_of, outlines

_HULLS: tuple[Colour, ...] = ((240, 240, 238), (240, 240, 238), (214, 210, 200), (70, 96, 140), (150, 60, 50))
_DECKS: tuple[Colour, ...] = ((170, 150, 120), (120, 130, 150), (200, 200, 205), (70, 76, 92))
_GLASS: Colour = (40, 46, 54)
_HULL = np.array([[-0.5, -0.42], [0.15, -0.5], [0.36, -0.3], [0.5, 0.0], [0.36, 0.3], [0.15, 0.5], [-0.5, 0.42]])
_WINGS = np.array([[0.16, 0.0], [-0.1, 0.5], [-0.18, 0.5], [-0.06, 0.0], [-0.18, -0.5], [-0.1, -0.5]])
_TAIL = np.array([[-0.36, 0.0], [-0.48, 0.19], [-0.53, 0.19], [-0.46, 0.0], [-0.53, -0.19], [-0.48, -0.19]])
_BODY = np.array([[0.5, 0.0], [0.44, 0.04], [-0.4, 0.05], [-0.5, 0.01], [-0.5, -0.01], [-0.4, -0.05], [0.44, -0.04]])


def spots(canvas: Canvas, count: int, *, spread: float = 1.0) -> Floats:
    """Return random places (count, 2) within `spread` times the reach of the picture."""
    return canvas.rng.uniform(-canvas.reach * spread, canvas.reach * spread, (count, 2))


def pick(canvas: Canvas, colours: Sequence[Colour], count: int) -> list[Colour]:
    """Return `count` colours drawn from a list, each a little lighter or darker."""
    which = canvas.rng.integers(len(colours), size=count).tolist()
    factors = canvas.rng.uniform(0.85, 1.15, count).tolist()
    return [shade(colours[i], factor) for i, factor in zip(which, factors, strict=True)]


def shadow(canvas: Canvas, shapes: Floats, height: float) -> None:
    """Darken the ground beside shapes (N, corners, 2) that stand `height` metres tall."""
    fall = canvas.sun * height
    for step in (0.5, 1.0):  # twice, so that the shadow hangs together with what throws it
        canvas.polygons(shapes + fall * step, SHADE, opacity=0.38)


def trees(canvas: Canvas, centres: Floats, radii: ArrayLike) -> None:
    """Draw crowns around centres (N, 2) with radii (N,), in metres, and the shadows they throw."""
    seen = canvas.visible(centres, 8.0)
    colours = [
        colour
        for colour, inside in zip(pick(canvas, canvas.palette.foliage, len(centres)), seen, strict=True)
        if inside
    ]
    radii = each(radii, len(centres))[seen]
    centres = centres[seen]
    canvas.discs(centres + canvas.sun * (0.9 * radii)[:, None], radii, SHADE, opacity=0.45)
    canvas.discs(centres, radii, colours)
    tall = radii > 1.6
    lit = [shade(colour, 1.25) for colour, large in zip(colours, tall, strict=True) if large]
    towards = canvas.sun / np.linalg.norm(canvas.sun)
    canvas.discs(centres[tall] - towards * (0.3 * radii[tall])[:, None], 0.55 * radii[tall], lit)


def clumps(canvas: Canvas, groves: int, *, trees_each: tuple[int, int] = (3, 14)) -> None:
    """Scatter groves of trees anywhere in the picture."""
    rng = canvas.rng
    for middle in spots(canvas, groves):
        count = int(rng.integers(*trees_each, endpoint=True))
        trees(canvas, middle + rng.normal(0.0, 7.0, (count, 2)), rng.uniform(1.4, 4.5, count))


def houses(canvas: Canvas, centres: Floats, lengths: ArrayLike, widths: ArrayLike, angles: ArrayLike) -> None:
    """Draw ridged roofs around centres (N, 2), with sizes (N,) in metres and ridges along angles (N,)."""
    roofs = pick(canvas, canvas.palette.roofs, len(centres))
    hipped = canvas.rng.random() < 0.5
    height = canvas.rng.uniform(3.5, 7.0)
    seen = canvas.visible(centres, 15.0)
    roofs = [roof for roof, inside in zip(roofs, seen, strict=True) if inside]
    length, width, angle = (each(values, len(centres))[seen] for values in (lengths, widths, angles))
    centres = centres[seen]
    ground = boxes(centres, length, width, angle)
    shadow(canvas, ground, height)
    canvas.polygons(ground, roofs)
    inset = 0.22 if hipped else 0.5
    half = np.array([[-0.5, 0.5], [0.5, 0.5], [inset, 0.0], [-inset, 0.0]])
    # The half that looks at the sun is light, the other dark.
    away = np.stack([-np.sin(angle), np.cos(angle)], axis=1) @ canvas.sun
    lit = [shade(roof, 0.72 if side > 0 else 1.22) for roof, side in zip(roofs, away, strict=True)]
    canvas.polygons(outlines(half, centres, length, width, angle), lit)
    if hipped:
        gable = np.array([[-0.5, -0.5], [-0.5, 0.5], [-inset, 0.0]])
        canvas.polygons(outlines(gable, centres, length, width, angle), [shade(roof, 0.86) for roof in roofs])


def flat_roof(canvas: Canvas, outline: Floats, colour: Colour, *, height: float = 8.0) -> None:
    """Draw one flat building, outline (4, 2) in metres, with its parapet and the machines on it."""
    shadow(canvas, outline[None], height)
    canvas.polygon(outline, shade(colour, 0.8))
    middle = outline.mean(axis=0)
    canvas.polygon(middle + 0.94 * (outline - middle), colour)
    for _ in range(int(canvas.rng.integers(0, 5))):
        x, y = middle + canvas.rng.uniform(-0.3, 0.3, 2) @ (outline[[1, 3]] - outline[0])
        canvas.polygon(box(x, y, *canvas.rng.uniform(1.5, 4.0, 2)), shade(colour, 0.65))


def cars(canvas: Canvas, centres: Floats, angles: ArrayLike) -> None:
    """Draw cars around centres (N, 2), heading along angles (N,) in radians."""
    count = len(centres)
    colours = pick(canvas, CARS, count)
    lengths, widths = canvas.rng.uniform(4.0, 5.2, count), canvas.rng.uniform(1.8, 2.1, count)
    seen = canvas.visible(centres, 4.0)
    colours = [colour for colour, inside in zip(colours, seen, strict=True) if inside]
    centres, angle, lengths, widths = centres[seen], each(angles, count)[seen], lengths[seen], widths[seen]
    bodies = boxes(centres, lengths, widths, angle)
    canvas.polygons(bodies + canvas.sun * 1.3, SHADE, opacity=0.5)
    canvas.polygons(bodies, colours)
    if canvas.dots(1.0) > 1.2:  # below that, a windscreen is a fraction of a pixel
        ahead = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        canvas.polygons(boxes(centres + 0.6 * ahead, 0.14 * lengths, 0.8 * widths, angle), _GLASS)


def road(canvas: Canvas, line: ArrayLike, width: float, *, traffic: float = 0.0, kerb: bool = True) -> None:
    """Draw a two-lane road along a line (points, 2), with `traffic` cars for every 100 m."""
    rng, points = canvas.rng, np.asarray(line, float)
    if kerb:
        canvas.stroke(points, width + rng.uniform(1.5, 4.0), shade(canvas.palette.concrete, 0.95))
    canvas.stroke(points, width, canvas.palette.asphalt)
    if width > 6 and rng.random() < 0.6:
        canvas.dashes(points, width=0.4, length=3.0, gap=4.0, colour=PAINT)
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    count = rng.poisson(traffic * lengths.sum() / 100)
    where = rng.choice(len(steps), count, p=lengths / lengths.sum())
    ahead = steps[where] / lengths[where, None]
    lane = left_of(ahead) * rng.choice([-1, 1], count)[:, None] * width / 4
    cars(
        canvas,
        points[where] + steps[where] * rng.random(count)[:, None] + lane,
        np.arctan2(ahead[:, 1], ahead[:, 0]),
    )


def boats(canvas: Canvas, centres: Floats, lengths: ArrayLike, angles: ArrayLike) -> None:
    """Draw boats around centres (N, 2), `lengths` (N,) metres long, their bows towards angles (N,)."""
    seen = canvas.visible(centres, 10.0)
    length, angle = each(lengths, len(centres))[seen], each(angles, len(centres))[seen]
    centres = centres[seen]
    width = np.clip(0.32 * length, 1.8, 5.5)
    hulls = outlines(_HULL, centres, length, width, angle)
    canvas.polygons(hulls + canvas.sun * 1.2, SHADE, opacity=0.4)
    canvas.polygons(hulls, pick(canvas, _HULLS, len(hulls)))
    canvas.polygons(boxes(centres, 0.4 * length, 0.55 * width, angle), pick(canvas, _DECKS, len(hulls)))


def aeroplane(canvas: Canvas, x: float, y: float, *, span: float, angle: float) -> None:
    """Draw one airliner around a place, `span` metres from wing tip to wing tip, its nose towards `angle`."""
    shapes = [outlines(part, np.array([[x, y]]), span, span, angle)[0] for part in (_WINGS, _TAIL, _BODY)]
    for shape in shapes:
        canvas.polygon(shape + canvas.sun * 4.0, SHADE, opacity=0.4)
    for shape, colour in zip(shapes, ((214, 216, 220), (200, 204, 210), (244, 244, 244)), strict=True):
        canvas.polygon(shape, colour)
