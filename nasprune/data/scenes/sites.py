"""Places laid out for one purpose: car parks, tank farms and tennis courts."""

from __future__ import annotations

import math

import numpy as np

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.palette import PAINT, Colour, grey, shade
from nasprune.data.scenes.things import box, boxes, cars, clumps, flat_roof, houses, pick, road, shadow, spots, trees

_TANKS: tuple[Colour, ...] = ((238, 238, 234), (212, 212, 206), (178, 180, 180), (166, 124, 98), (196, 206, 190))
_COURTS: tuple[Colour, ...] = ((74, 122, 88), (62, 98, 150), (176, 98, 72), (88, 130, 96), (120, 132, 128), (112, 86, 136))


def parking_lot(canvas: Canvas) -> None:
    """Asphalt with rows of parked cars between lanes; sometimes trees, or the building it serves."""
    rng, reach = canvas.rng, canvas.reach
    tarmac = canvas.palette.asphalt if rng.random() < 0.8 else canvas.palette.concrete
    edge = reach * (1.2 if rng.random() < 0.4 else rng.uniform(0.3, 0.8))
    lot = np.array([[-1.2 * reach, -1.2 * reach], [1.2 * reach, -1.2 * reach], [1.2 * reach, edge], [-1.2 * reach, edge]])
    canvas.lay(canvas.texture((shade(tarmac, 0.9), shade(tarmac, 1.1))), [lot])
    pitch, stall = rng.uniform(15.5, 18.5), rng.uniform(2.5, 2.9)
    filled = rng.choice([rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.98)])
    painted, islands = rng.random() < 0.8, rng.random() < 0.4
    middles, headings = [], []
    for row in np.arange(-1.1 * reach, edge - 8, pitch) + rng.uniform(0, 4):
        x = np.arange(-1.1 * reach, 1.1 * reach, stall) + rng.uniform(0, stall)
        if painted:
            for side in (-1, 1):
                lines = np.stack([x + stall / 2, np.full(len(x), row + side * 2.6)], axis=1)
                lines = lines[canvas.visible(lines, 3.0)]
                canvas.polygons(
                    boxes(lines, np.full(len(lines), 0.22), np.full(len(lines), 5.0), np.zeros(len(lines))),
                    [PAINT] * len(lines),
                    opacity=0.8,
                )
        for side in (-1, 1):
            taken = x[rng.random(len(x)) < filled]
            middles.append(np.stack([taken, row + side * 2.7 + rng.normal(0, 0.2, len(taken))], axis=1))
            headings.append(np.where(rng.random(len(taken)) < 0.5, 1.0, -1.0) * math.pi / 2 + rng.normal(0, 0.03, len(taken)))
        if islands:
            at = x[:: int(rng.integers(6, 14))]
            green = np.stack([at, np.full(len(at), row)], axis=1)
            canvas.polygons(boxes(green, np.full(len(at), stall), np.full(len(at), 9.5), np.zeros(len(at))), [canvas.palette.grass[0]] * len(at))
    cars(canvas, np.concatenate(middles), np.concatenate(headings))
    _beside(canvas, edge)


def _beside(canvas: Canvas, edge: float) -> None:
    """Draw what a car park ends at, from y = edge on: a building, a road or trees."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    if kind < 0.45:
        outline = box((rng.uniform(-0.3, 0.3) * reach, edge + 22), rng.uniform(0.7, 1.6) * reach, 36, 0.0)
        flat_roof(canvas, outline, grey(rng, 120, 220))
    elif kind < 0.75:
        road(canvas, np.array([[-1.2 * reach, edge + 8], [1.2 * reach, edge + 8]]), 8.0, traffic=3.0)
    count = int(rng.integers(0, 25))
    at = np.stack([rng.uniform(-reach, reach, count), edge + np.abs(rng.normal(1, 4, count))], axis=1)
    trees(canvas, at, rng.uniform(1.3, 3.2, count))


def storage_tanks(canvas: Canvas) -> None:
    """Round tanks, alone or in rows, within their earth walls."""
    rng, reach = canvas.rng, canvas.reach
    yard = (canvas.palette.soil, (shade(canvas.palette.concrete, 0.85), canvas.palette.concrete), canvas.palette.grass)
    canvas.image.paste(canvas.texture(yard[rng.integers(3)]))
    if rng.random() < 0.6:
        offset = rng.uniform(-0.9, 0.9) * reach
        road(canvas, np.array([[-1.2 * reach, offset], [1.2 * reach, offset]]), 7.0, traffic=1.0, kerb=False)
    radius = rng.uniform(5.0, 0.2 * canvas.metres)
    pitch = radius * rng.uniform(2.3, 3.6)
    grid = (np.arange(-6, 7) * pitch)[np.abs(np.arange(-6, 7) * pitch) < 0.9 * reach]
    centres = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2) + rng.uniform(-0.5, 0.5, 2) * pitch
    near = centres[np.argsort(np.linalg.norm(centres + rng.uniform(-0.6, 0.6, 2) * reach, axis=1))]
    kept = near[: max(1, int(len(near) * rng.choice([0.12, 0.35, 0.8])))]
    kept = kept + rng.normal(0, 0.05 * pitch, kept.shape)
    radii = radius * rng.choice([rng.uniform(0.9, 1.0), rng.uniform(0.55, 1.0)], len(kept))
    if rng.random() < 0.5:
        walls = boxes(kept, np.full(len(kept), 0.97 * pitch), np.full(len(kept), 0.97 * pitch), np.zeros(len(kept)))
        canvas.polygons(walls, [shade(canvas.palette.soil[1], 1.1)] * len(walls))
        inner = boxes(kept, np.full(len(kept), 0.88 * pitch), np.full(len(kept), 0.88 * pitch), np.zeros(len(kept)))
        canvas.polygons(inner, [canvas.palette.soil[0]] * len(inner))
    for x, y in kept[: int(rng.integers(0, 6))]:
        canvas.stroke([[x, y], [x, -1.2 * reach]], 1.0, (150, 150, 148))
    _tanks(canvas, kept, radii)
    sheds = spots(canvas, int(rng.integers(0, 4)))
    apart = np.array([np.min(np.linalg.norm(kept - shed, axis=1)) > radius + 14 for shed in sheds], bool)
    sheds = sheds[apart] if len(sheds) else sheds
    houses(canvas, sheds, rng.uniform(8, 20, len(sheds)), rng.uniform(6, 12, len(sheds)), np.zeros(len(sheds)))
    clumps(canvas, int(rng.integers(0, 5)), trees_each=(2, 6))


def _tanks(canvas: Canvas, centres: np.ndarray, radii: np.ndarray) -> None:
    """Draw tanks with fixed or floating roofs at centres (N, 2) with radii (N,)."""
    rng = canvas.rng
    paint = [_TANKS[rng.integers(len(_TANKS))]] * len(radii) if rng.random() < 0.7 else pick(canvas, _TANKS, len(radii))
    height = rng.uniform(6.0, 14.0)
    for step in (0.4, 0.7, 1.0):
        canvas.discs(centres + canvas.sun * height * step, radii, [(18, 22, 30)] * len(radii), opacity=0.3)
    canvas.discs(centres, radii, [shade(colour, 0.78) for colour in paint])
    canvas.discs(centres, 0.93 * radii, paint)
    towards = canvas.sun / np.linalg.norm(canvas.sun)
    if rng.random() < 0.4:  # a floating roof lies deep: the wall throws a crescent of shade on it
        canvas.discs(centres, 0.88 * radii, [shade(colour, 0.5) for colour in paint])
        canvas.discs(centres + towards * (0.1 * radii)[:, None], 0.79 * radii, [shade(colour, 0.92) for colour in paint])
    else:
        canvas.discs(centres - towards * (0.25 * radii)[:, None], 0.5 * radii, [shade(colour, 1.08) for colour in paint])
        canvas.discs(centres, 0.12 * radii, [shade(colour, 0.7) for colour in paint])
        if rng.random() < 0.5:
            for (x, y), radius in zip(centres, radii, strict=True):
                for angle in np.linspace(0, math.pi, 4, endpoint=False):
                    spoke = 0.9 * radius * np.array([math.cos(angle), math.sin(angle)])
                    canvas.stroke([[x, y] - spoke, [x, y] + spoke], 0.4, shade(paint[0], 0.8), opacity=0.6)


def tennis_courts(canvas: Canvas) -> None:
    """One to eight courts with their lines and nets, among trees, houses or car parks."""
    rng, reach = canvas.rng, canvas.reach
    _neighbours(canvas)
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    across, along = rng.uniform(15.5, 18.5), rng.uniform(33, 37)
    width, height = columns * across + 3, rows * along + 2
    middle = rng.uniform(-0.3, 0.3, 2) * reach
    around, court = (_COURTS[i] for i in rng.integers(len(_COURTS), size=2))
    if rng.random() < 0.3:
        court = shade(around, rng.uniform(0.85, 1.15))
    outline = box((middle[0], middle[1]), width, height, 0.0)
    canvas.lay(canvas.texture((shade(around, 0.94), shade(around, 1.06))), [outline])
    canvas.stroke(np.vstack([outline, outline[:1]]), 0.5, shade(around, 0.5))
    for column in range(columns):
        for row in range(rows):
            at = middle + [(column - (columns - 1) / 2) * across, (row - (rows - 1) / 2) * along]
            _court(canvas, at, court)
    edge = int(rng.integers(4, 30))
    where = rng.integers(4, size=edge)
    corner = outline[where] + (outline[(where + 1) % 4] - outline[where]) * rng.random((edge, 1))
    outward = (corner - middle) / np.linalg.norm(corner - middle, axis=1, keepdims=True)
    trees(canvas, corner + outward * rng.uniform(4, 9, (edge, 1)), rng.uniform(1.5, 3.5, edge))


def _court(canvas: Canvas, at: np.ndarray, colour: Colour) -> None:
    """Draw one court, 23.77 m by 10.97 m, around a middle (2,)."""
    canvas.polygon(box((at[0], at[1]), 10.97, 23.77, 0.0), colour)
    for x in (-5.49, -4.12, 4.12, 5.49):
        canvas.stroke([at + [x, -11.9], at + [x, 11.9]], 0.3, PAINT)
    for y, half in ((-11.9, 5.5), (-6.4, 4.1), (6.4, 4.1), (11.9, 5.5)):
        canvas.stroke([at + [-half, y], at + [half, y]], 0.3, PAINT)
    canvas.stroke([at + [0, -6.4], at + [0, 6.4]], 0.3, PAINT)
    canvas.stroke(np.array([at + [-6.4, 0.0], at + [6.4, 0.0]]) + canvas.sun, 0.5, (30, 34, 38), opacity=0.6)
    canvas.stroke([at + [-6.4, 0.0], at + [6.4, 0.0]], 0.35, (220, 220, 220))


def _neighbours(canvas: Canvas) -> None:
    """Draw what lies around tennis courts."""
    rng, reach, kind = canvas.rng, canvas.reach, canvas.rng.random()
    clumps(canvas, int(rng.integers(0, 12)))
    if kind < 0.35:
        count = int(rng.integers(3, 12))
        at = spots(canvas, count)
        houses(canvas, at, rng.uniform(9, 16, count), rng.uniform(8, 11, count), rng.choice([0.0, 1.57], count))
    elif kind < 0.6:
        side = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 0.8) * reach
        canvas.polygon(box((0.0, side), 2.4 * reach, 20, 0.0), canvas.palette.asphalt)
        x = np.arange(-reach, reach, 2.7)
        x = x[rng.random(len(x)) < 0.6]
        cars(canvas, np.stack([x, np.full(len(x), side - 5)], axis=1), np.full(len(x), math.pi / 2))
    elif kind < 0.8:
        road(canvas, np.array([[-1.2 * reach, 0.8 * reach], [1.2 * reach, 0.7 * reach]]), 7.0, traffic=3.0)
    elif kind < 0.9:
        flat_roof(canvas, box((0.6 * reach, 0.6 * reach), 40, 26, 0.0), canvas.palette.concrete)
