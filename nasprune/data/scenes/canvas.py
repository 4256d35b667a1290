"""The surface a scene is drawn on: metres on the ground in, antialiased pixels out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from nasprune.data.scenes.palette import Colour, Palette, draw_palette

Floats = NDArray[np.float64]

_COARSE, _MIDDLE = 6, 24  # cells along a side of the two layers of cloudy texture


class Canvas:
    """A square of ground seen from above, turned by a random angle.

    Coordinates are metres, the origin in the middle of the picture. The picture is `metres` wide, and because it
    is turned, what shall fill it must reach `reach` metres from the middle to every side.

    Attributes:
        rng: draws what is where; the same for every image size.
        palette: the colours of this scene.
        metres: width of the picture on the ground.
        reach: distance from the middle to a corner, in metres.
        heading: how far the picture is turned, in radians.
        sun: direction in which shadows fall, per metre of height, in metres.
        image: what has been drawn so far, larger than the final picture.
    """

    def __init__(
        self, rng: np.random.Generator, grain: np.random.Generator, *, image_size: int, metres: float
    ) -> None:
        self.rng = rng
        self.palette: Palette = draw_palette(rng)
        self.metres = metres
        self.reach = metres * math.sqrt(0.5)
        # Three times the size where pixels are few, else twice: a jagged edge is then below one grey level of noise.
        self.side = image_size * (3 if image_size < 40 else 2)
        self.heading, bearing = rng.uniform(0, 2 * math.pi, 2)
        self.sun = rng.uniform(0.3, 1.0) * np.array([math.cos(bearing), math.sin(bearing)])
        self._grain = grain
        self._scale = self.side / metres
        self._turn = np.array(
            [
                [math.cos(self.heading), math.sin(self.heading)],
                [-math.sin(self.heading), math.cos(self.heading)],
            ]
        )
        self.image = self.texture(self.palette.grass)
        self._pen = ImageDraw.Draw(self.image, "RGBA")

    def texture(self, pair: tuple[Colour, Colour], *, coarse: float = 1.0) -> Image.Image:
        """Return a picture of mottled ground between two colours; `coarse` is the share of large patches."""
        level = coarse * self._cloud(_COARSE) + 0.5 * self._cloud(_MIDDLE)
        level += 0.35 * self._grain.standard_normal((self.side, self.side), dtype=np.float32)
        np.clip(0.5 + 0.28 * level, 0.0, 1.0, out=level)
        low, high = np.array(pair[0], np.float32), np.array(pair[1], np.float32)
        return Image.fromarray((low + level[..., None] * (high - low)).astype(np.uint8))

    def _cloud(self, cells: int) -> NDArray[np.float32]:
        """Return smooth noise of unit spread, (side, side)."""
        knots = self.rng.standard_normal((cells, cells)).astype(np.float32)
        return np.asarray(
            Image.fromarray(knots).resize((self.side, self.side), Image.Resampling.BICUBIC)
        ).copy()

    def lay(self, picture: Image.Image, outlines: Iterable[ArrayLike]) -> None:
        """Cover the areas within the outlines, each (corners, 2) in metres, with a texture."""
        mask = Image.new("1", self.image.size)
        pen = ImageDraw.Draw(mask)
        for outline in outlines:
            pen.polygon(self.pixels(np.asarray(outline, float)).ravel().tolist(), fill=1)
        self.image.paste(picture, mask=mask)

    def polygon(self, outline: ArrayLike, colour: Colour, *, opacity: float = 1.0) -> None:
        """Fill one outline, (corners, 2) in metres."""
        self._pen.polygon(
            self.pixels(np.asarray(outline, float)).ravel().tolist(), fill=_ink(colour, opacity)
        )

    def polygons(self, outlines: Floats, colours: Sequence[Colour], *, opacity: float = 1.0) -> None:
        """Fill many outlines with equally many corners, (shapes, corners, 2) in metres, one colour each."""
        pixels = self.pixels(outlines).reshape(len(outlines), 2 * outlines.shape[1]).tolist()
        for corners, colour in zip(pixels, colours, strict=True):
            self._pen.polygon(corners, fill=_ink(colour, opacity))

    def discs(
        self, centres: Floats, radii: Floats, colours: Sequence[Colour], *, opacity: float = 1.0
    ) -> None:
        """Fill circles: centres (shapes, 2) and radii (shapes,) in metres."""
        middles, reach = self.pixels(centres), (radii * self._scale)[:, None]
        corners = np.hstack([middles - reach, middles + reach]).tolist()
        for corner, colour in zip(corners, colours, strict=True):
            self._pen.ellipse(corner, fill=_ink(colour, opacity))

    def stroke(self, points: ArrayLike, width: float, colour: Colour, *, opacity: float = 1.0) -> None:
        """Draw along points, (points, 2) in metres, with a pen of `width` metres."""
        thickness = max(1, round(width * self._scale))
        pixels = self.pixels(np.asarray(points, float)).ravel().tolist()
        self._pen.line(pixels, fill=_ink(colour, opacity), width=thickness, joint="curve")

    def dashes(self, points: Floats, *, width: float, length: float, gap: float, colour: Colour) -> None:
        """Draw a broken line along points (points, 2), all lengths in metres."""
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        starts = np.arange(0.0, along[-1], length + gap)
        ends = np.minimum(starts + length, along[-1])
        first, last = (
            np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
            for at in (starts, ends)
        )
        thickness = max(1, round(width * self._scale))
        for line in self.pixels(np.hstack([first, last]).reshape(-1, 2, 2)).reshape(-1, 4).tolist():
            self._pen.line(line, fill=_ink(colour, 1.0), width=thickness)

    def visible(self, centres: Floats, margin: float) -> NDArray[np.bool_]:
        """Return which centres, (N, 2) in metres, lie in the picture or within `margin` metres of it."""
        return np.asarray(np.all(np.abs(centres @ self._turn) <= self.metres / 2 + margin, axis=1))

    def dots(self, metres: float) -> float:
        """Return how many pixels of the drawing a length in metres spans."""
        return metres * self._scale

    def pixels(self, points: Floats) -> Floats:
        """Return where points (..., 2) in metres lie in the drawing, in pixels."""
        return np.asarray((points @ self._turn) * self._scale + self.side / 2)


def _ink(colour: Colour, opacity: float) -> tuple[int, int, int, int]:
    return (*colour, round(255 * opacity))
