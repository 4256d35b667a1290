"""Outlines and lines on the ground, in metres."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SQUARE = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])


def boxes(centres: Floats, lengths: ArrayLike, widths: ArrayLike, angles: ArrayLike) -> Floats:
    """Return turned rectangles, (N, 4, 2), around centres (N, 2).

    Sizes in metres and angles in radians are (N,), or one number for all.
    """
    return outlines(_SQUARE, centres, lengths, widths, angles)


def outlines(shape: Floats, centres: Floats, lengths: ArrayLike, widths: ArrayLike, angles: ArrayLike) -> Floats:
    """Return copies (N, corners, 2) of a shape (corners, 2) of unit size, stretched, turned and moved."""
    length, width, angle = (each(values, len(centres)) for values in (lengths, widths, angles))
    ahead = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = shape[None, :, :1] * (length[:, None] * ahead)[:, None, :]
    across = shape[None, :, 1:] * (width[:, None] * left_of(ahead))[:, None, :]
    return np.asarray(centres[:, None, :] + along + across, float)


def box(x: float, y: float, length: float, width: float, angle: float = 0.0) -> Floats:
    """Return one turned rectangle, (4, 2)."""
    return np.asarray(boxes(np.array([[x, y]]), length, width, angle)[0], float)


def each(values: ArrayLike, count: int) -> Floats:
    """Return values as (count,), one number repeated."""
    return np.asarray(values, float) + np.zeros(count)


def left_of(ahead: Floats) -> Floats:
    """Return directions (N, 2) turned by a quarter to the left."""
    return np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)


def moved(points: Floats, x: ArrayLike, y: ArrayLike) -> Floats:
    """Return points (N, 2) moved by x and y metres, each one number or one for every point."""
    return points + np.stack([each(x, len(points)), each(y, len(points))], axis=1)


def pairs(x: ArrayLike, y: ArrayLike) -> Floats:
    """Return points (N, 2) from coordinates (N,), either of which may be one number for all."""
    return np.stack(np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float)), axis=-1)


def height_at(line: Floats, x: ArrayLike) -> Floats:
    """Return y at each x (N,) on a line (points, 2) that runs from left to right."""
    return np.asarray(np.interp(np.asarray(x, float), line[:, 0], line[:, 1]), float)


def across(reach: float, offset: float, *, curve: float = 0.0) -> Floats:
    """Return a line (points, 2) from left to right, `offset` metres up, bowed by `curve` of the reach."""
    along = np.linspace(-1.15, 1.15, 13)
    return pairs(along * reach, offset + curve * reach * along**2)


def beside(line: Floats, offset: float) -> Floats:
    """Return the line (points, 2) moved `offset` metres to its left everywhere."""
    ahead = np.gradient(line, axis=0)
    return np.asarray(line + offset * left_of(ahead / np.linalg.norm(ahead, axis=1, keepdims=True)), float)


def wander(
    rng: np.random.Generator, reach: float, offset: float, *, swing: float, turns: tuple[float, float]
) -> Floats:
    """Return a winding line (points, 2) from left to right.

    Args:
        rng: draws the bends.
        reach: how far the line goes to both sides, in metres (a little more than this).
        offset: its mean height in metres.
        swing: how far it strays, as a share of the reach.
        turns: least and greatest number of half waves to a reach.
    """
    along = np.linspace(-1.2, 1.2, 33)
    slow, quick = rng.uniform(*turns), rng.uniform(2.0, 4.0)
    wave = np.sin(math.pi * slow * along + rng.uniform(0, 6))
    wave += 0.3 * np.sin(math.pi * quick * along + rng.uniform(0, 6))
    return pairs(along * reach, offset + swing * reach * wave)
