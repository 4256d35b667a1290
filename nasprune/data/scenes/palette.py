"""The colours of one scene: its season, its soil, its water, what its people build with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

_GROUNDS: tuple[tuple[Colour, Colour], ...] = (  # darkest and lightest grass: lush, mown, dry, autumn, winter
    ((62, 96, 46), (108, 142, 74)),
    ((84, 118, 58), (122, 158, 84)),
    ((146, 130, 86), (190, 174, 124)),
    ((112, 106, 62), (158, 142, 88)),
    ((112, 110, 94), (156, 152, 134)),
)
_FOLIAGE: tuple[tuple[Colour, ...], ...] = (
    ((38, 70, 34), (52, 88, 40), (66, 102, 48), (34, 58, 40)),
    ((44, 78, 38), (60, 98, 46), (78, 112, 56), (50, 82, 52)),
    ((74, 92, 50), (90, 100, 60), (62, 80, 46), (104, 104, 66)),
    ((150, 96, 42), (168, 122, 52), (92, 96, 42), (128, 64, 38)),
    ((84, 74, 64), (58, 70, 50), (100, 90, 78), (70, 66, 58)),
)
_WATERS: tuple[tuple[Colour, Colour], ...] = (  # deep and shallow: sea, lagoon, green, muddy, dark
    ((28, 62, 98), (62, 112, 140)),
    ((22, 92, 120), (96, 172, 178)),
    ((42, 74, 62), (82, 112, 88)),
    ((86, 94, 72), (122, 128, 98)),
    ((22, 34, 46), (44, 60, 70)),
)
_SOILS: tuple[tuple[Colour, Colour], ...] = (
    ((128, 104, 78), (166, 140, 108)),
    ((110, 92, 76), (142, 124, 104)),
    ((150, 112, 82), (184, 146, 112)),
    ((142, 136, 124), (178, 172, 160)),
)
_SANDS: tuple[tuple[Colour, Colour], ...] = (
    ((200, 180, 140), (234, 216, 178)),
    ((186, 168, 140), (214, 200, 174)),
    ((172, 150, 112), (202, 182, 146)),
)
_ROOFS: tuple[tuple[Colour, ...], ...] = (  # what a neighbourhood is roofed with
    ((168, 92, 68), (184, 110, 82), (150, 80, 62), (196, 132, 102)),
    ((104, 100, 98), (128, 122, 118), (84, 80, 80), (148, 140, 132)),
    ((122, 98, 80), (146, 120, 96), (100, 82, 70), (166, 146, 122)),
    ((176, 168, 156), (206, 200, 190), (120, 124, 132), (152, 94, 74)),
)
CARS: tuple[Colour, ...] = (
    (236, 236, 236),
    (236, 236, 236),
    (190, 192, 196),
    (150, 152, 156),
    (62, 62, 66),
    (34, 34, 38),
    (168, 40, 36),
    (46, 70, 130),
    (196, 182, 150),
)
PAINT: Colour = (232, 232, 226)
YELLOW: Colour = (206, 170, 60)
SHADE: Colour = (18, 22, 30)


@dataclass(frozen=True, kw_only=True)
class Palette:
    """What one scene is coloured with. A pair is the darkest and the lightest of a texture."""

    grass: tuple[Colour, Colour]
    soil: tuple[Colour, Colour]
    sand: tuple[Colour, Colour]
    water: tuple[Colour, Colour]
    foliage: tuple[Colour, ...]
    roofs: tuple[Colour, ...]
    asphalt: Colour
    concrete: Colour


def draw_palette(rng: np.random.Generator) -> Palette:
    """Return the colours of a new scene: season, materials and small shifts of each."""
    season = int(rng.integers(len(_GROUNDS)))
    return Palette(
        grass=_shift(rng, _GROUNDS[season]),
        soil=_shift(rng, _SOILS[rng.integers(len(_SOILS))]),
        sand=_shift(rng, _SANDS[rng.integers(len(_SANDS))]),
        water=_shift(rng, _WATERS[rng.integers(len(_WATERS))]),
        foliage=_FOLIAGE[season],
        roofs=_ROOFS[rng.integers(len(_ROOFS))],
        asphalt=grey(rng, 66, 132),
        concrete=grey(rng, 140, 198),
    )


def grey(rng: np.random.Generator, low: float, high: float) -> Colour:
    """Return a grey between two levels, a little warm or cool."""
    level, warmth = rng.uniform(low, high), rng.uniform(-6, 8)
    return clip((level + warmth, level + warmth / 3, level - warmth))


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (below 1) or lighter (above 1)."""
    # Called for every tree and car: written out, it takes a third of the time of `clip`.
    red, green, blue = colour
    return min(255, int(red * factor)), min(255, int(green * factor)), min(255, int(blue * factor))


def mix(first: Colour, last: Colour, share: float) -> Colour:
    """Return the colour that lies `share` of the way from the first to the last."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, last, strict=True))
    return clip((red, green, blue))


def clip(values: tuple[float, float, float]) -> Colour:
    """Return the nearest colour that exists."""
    red, green, blue = (min(255, max(0, round(value))) for value in values)
    return red, green, blue


def _shift(rng: np.random.Generator, pair: tuple[Colour, Colour]) -> tuple[Colour, Colour]:
    """Return the pair with one small random shift on both."""
    shift = rng.normal(0.0, 6.0, 3)
    low, high = (clip((c[0] + shift[0], c[1] + shift[1], c[2] + shift[2])) for c in pair)
    return low, high
