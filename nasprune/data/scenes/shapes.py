"""Outlines and lines on the ground, in metres."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nasprune.data.scenes.canvas import Canvas, Floats


def boxes(centres: Floats, lengths: Floats, widths: Floats, angles: Floats) -> Floats:
    """Return turned rectangles, (N, 4, 2) in metres, from centres (N, 2), sizes (N,) and angles (N,) in radians."""
    return outlines(
        np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]), centres, lengths, widths, angles
    )


def outlines(shape: Floats, centres: Floats, lengths: Floats, widths: Floats, angles: Floats) -> Floats:
    """Return copies (N, corners, 2) of a shape (corners, 2) of unit size, stretched, turned and moved."""
    ahead = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    aside = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)
    along = shape[None, :, :1] * (np.asarray(lengths)[:, None] * ahead)[:, None, :]
    across = shape[None, :, 1:] * (np.asarray(widths)[:, None] * aside)[:, None, :]
    return np.asarray(centres[:, None, :] + along + across)


def box(centre: Sequence[float], length: float, width: float, angle: float) -> Floats:
    """Return one turned rectangle, (4, 2) in metres."""
    return boxes(np.array([centre], float), np.array([length]), np.array([width]), np.array([angle]))[0]


def moved(points: Floats, x: ArrayLike, y: ArrayLike) -> Floats:
    """Return points (..., 2) moved by x and y metres, each one number or one for every point."""
    return points + np.stack(np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float)), axis=-1)


def bend(canvas: Canvas, offset: float, *, curve: float = 0.0, angle: float = 0.0) -> Floats:
    """Return a line (points, 2) through the whole picture, `offset` metres aside, bowed by `curve` of the reach."""
    along = np.linspace(-1.15, 1.15, 13)
    line = np.stack([along * canvas.reach, offset + curve * canvas.reach * along**2], axis=1)
    return line @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def aside(points: Floats, offset: float) -> Floats:
    """Return the line (points, 2) moved `offset` metres to its left everywhere."""
    ahead = np.gradient(points, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return np.asarray(points + offset * np.stack([-ahead[:, 1], ahead[:, 0]], axis=1))


def wander(canvas: Canvas, offset: float, *, swing: float, turns: tuple[float, float]) -> Floats:
    """Return a winding line (points, 2) through the picture; swing is a share of the reach."""
    rng, along = canvas.rng, np.linspace(-1.2, 1.2, 33)
    first, second = rng.uniform(*turns), rng.uniform(2.0, 4.0)
    wave = np.sin(math.pi * first * along + rng.uniform(0, 6)) + 0.3 * np.sin(
        math.pi * second * along + rng.uniform(0, 6)
    )
    return np.stack([along * canvas.reach, offset + swing * canvas.reach * wave], axis=1)
