"""The surface a scene is drawn on: metres on the ground in, antialiased pixels out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from nasprune.data.scenes.palette import Colour, Palette, draw_palette
from nasprune.data.scenes.shapes import Floats, each

_Ink = tuple[int, int, int, int]

_COARSE, _MIDDLE = 6, 24  # cells along a side of the two layers of cloudy texture


class Canvas:
    """A square of ground seen from above, turned by a random angle.

    Coordinates are metres, the origin in the middle of the picture. The picture is `metres` wide, and because
    it is turned, what shall fill it must reach `reach` metres from the middle to every side.

    Attributes:
        rng: draws what is where; the same for every image size.
        palette: the colours of this scene.
        metres: width of the picture on the ground.
        reach: distance from the middle to a corner, in metres.
        heading: how far the picture is turned, in radians.
        sun: where shadows fall, in metres for each metre of height, (2,).
        image: what has been drawn so far, larger than the final picture.
    """

    def __init__(self, rng: np.random.Generator, grain: np.random.Generator, *, image_size: int, metres: float) -> None:
        self.rng = rng
        self.palette: Palette = draw_palette(rng)
        self.metres = metres
        self.reach = metres * math.sqrt(0.5)
        # Three times the size where pixels are few, else twice; jagged edges drown in the sensor's noise.
        self.side = image_size * (3 if image_size < 40 else 2)
        self.heading, bearing = rng.uniform(0, 2 * math.pi, 2)
        self.sun = rng.uniform(0.3, 1.0) * np.array([math.cos(bearing), math.sin(bearing)])
        self._grain = grain
        self._scale = self.side / metres
        cosine, sine = math.cos(self.heading), math.sin(self.heading)
        self._turn = np.array([[cosine, sine], [-sine, cosine]])
        self.image = self.texture(self.palette.grass)
        self._pen = ImageDraw.Draw(self.image, "RGBA")

    def texture(self, pair: tuple[Colour, Colour], *, coarse: float = 1.0) -> Image.Image:
        """Return a picture of mottled ground between two colours; `coarse` is the share of large patches."""
        level = coarse * self._cloud(_COARSE) + 0.5 * self._cloud(_MIDDLE)
        level += 0.35 * self._grain.standard_normal((self.side, self.side), dtype=np.float32)
        np.clip(127.5 + 71.4 * level, 0.0, 255.0, out=level)
        # Colouring through a table of 256 entries takes half the time of mixing the colours pixel by pixel.
        picture = Image.fromarray(level.astype(np.uint8))
        picture.putpalette(np.linspace(pair[0], pair[1], 256).round().astype(np.uint8).tobytes())
        return picture.convert("RGB")

    def _cloud(self, cells: int) -> NDArray[np.float32]:
        """Return smooth noise of unit spread, (side, side)."""
        knots = Image.fromarray(self.rng.standard_normal((cells, cells)).astype(np.float32))
        return np.array(knots.resize((self.side, self.side), Image.Resampling.BICUBIC))

    def cover(self, pair: tuple[Colour, Colour], *, coarse: float = 1.0) -> None:
        """Cover all of the picture with mottled ground between two colours."""
        self.image.paste(self.texture(pair, coarse=coarse))

    def lay(self, pair: tuple[Colour, Colour], outline: ArrayLike) -> None:
        """Cover the area within an outline, (corners, 2) in metres, with mottled ground."""
        mask = Image.new("1", self.image.size)
        ImageDraw.Draw(mask).polygon(self._flat(outline), fill=1)
        self.image.paste(self.texture(pair), mask=mask)

    def polygon(self, outline: ArrayLike, colour: Colour, *, opacity: float = 1.0) -> None:
        """Fill one outline, (corners, 2) in metres."""
        self._pen.polygon(self._flat(outline), fill=_ink(colour, opacity))

    def polygons(self, outlines: Floats, colours: Colour | Sequence[Colour], *, opacity: float = 1.0) -> None:
        """Fill outlines, (N, corners, 2) in metres, with one colour, or with one of N each."""
        flat = self.pixels(outlines).reshape(len(outlines), 2 * outlines.shape[1]).tolist()
        for corners, ink in zip(flat, _inks(colours, len(outlines), opacity), strict=True):
            self._pen.polygon(corners, fill=ink)

    def discs(
        self,
        centres: Floats,
        radii: ArrayLike,
        colours: Colour | Sequence[Colour],
        *,
        opacity: float = 1.0,
    ) -> None:
        """Fill circles around centres (N, 2), radii (N,) in metres, with one colour or with one of N each."""
        middles, extent = self.pixels(centres), each(radii, len(centres))[:, None] * self._scale
        corners = np.hstack([middles - extent, middles + extent]).tolist()
        for corner, ink in zip(corners, _inks(colours, len(centres), opacity), strict=True):
            self._pen.ellipse(corner, fill=ink)

    def stroke(self, points: ArrayLike, width: float, colour: Colour, *, opacity: float = 1.0) -> None:
        """Draw along points, (points, 2) in metres, with a pen of `width` metres."""
        self._pen.line(self._flat(points), fill=_ink(colour, opacity), width=self._thickness(width), joint="curve")

    def dashes(self, points: Floats, *, width: float, length: float, gap: float, colour: Colour) -> None:
        """Draw a broken line along points (points, 2), all lengths in metres."""
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        starts = np.arange(0.0, along[-1], length + gap)
        marks = np.stack([starts, np.minimum(starts + length, along[-1])], axis=1)
        ends = np.stack([np.interp(marks, along, points[:, axis]) for axis in (0, 1)], axis=-1)
        for line in self.pixels(ends).reshape(-1, 4).tolist():
            self._pen.line(line, fill=_ink(colour, 1.0), width=self._thickness(width))

    def visible(self, centres: Floats, margin: float) -> NDArray[np.bool_]:
        """Return which centres, (N, 2) in metres, lie in the picture or within `margin` metres of it."""
        return np.asarray(np.all(np.abs(centres @ self._turn) <= self.metres / 2 + margin, axis=1))

    def dots(self, metres: float) -> float:
        """Return how many pixels of the drawing a length in metres spans."""
        return metres * self._scale

    def pixels(self, points: Floats) -> Floats:
        """Return where points (..., 2) in metres lie in the drawing, in pixels."""
        return np.asarray((points @ self._turn) * self._scale + self.side / 2)

    def _flat(self, points: ArrayLike) -> list[float]:
        flat: list[float] = self.pixels(np.asarray(points, float)).ravel().tolist()
        return flat

    def _thickness(self, width: float) -> int:
        return max(1, round(width * self._scale))


def _ink(colour: Colour, opacity: float) -> _Ink:
    return (*colour, round(255 * opacity))


def _inks(colours: Colour | Sequence[Colour], count: int, opacity: float) -> list[_Ink]:
    """Return `count` inks from one colour or from `count` of them."""
    if count and isinstance(colours[0], int):
        red, green, blue = colours
        return [_ink((red, green, blue), opacity)] * count  # type: ignore[arg-type]  # the check above tells
    return [_ink(colour, opacity) for colour in colours] if count else []  # type: ignore[arg-type]
