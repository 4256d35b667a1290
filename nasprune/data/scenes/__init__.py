"""A generator of small aerial-like scenes: a data set that is always at hand, at the size that is asked for.

Drawn with numpy and Pillow alone. What is drawn depends on (seed, class, index) and on nothing else, so
asking for more images adds images and changes none, and the same scene can be had at several image sizes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from nasprune.data.readers import EncodedImage
from nasprune.data.scenes.camera import photograph
from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.themes import THEMES
from nasprune.errors import SettingsError

__all__ = ["CLASSES", "generate"]

CLASSES: tuple[str, ...] = tuple(sorted(THEMES))
"""The labels, in the order in which `generate` yields them."""

SMALLEST_SIDE, LARGEST_SIDE = 16, 1024
MOST_PER_CLASS = 100_000


def generate(*, images_per_class: int, image_size: int, seed: int) -> Iterator[EncodedImage]:
    """Draw `images_per_class` scenes of every class, as PNG files in memory.

    Args:
        images_per_class: how many images each class gets, 1 to 100,000.
        image_size: side of the square images in pixels, 16 to 1024.
        seed: 0 or more; another seed gives other scenes.

    Returns:
        The images class by class, in the order of `CLASSES`, drawn as they are asked for.

    Raises:
        SettingsError: an argument is outside of its range.
    """
    _check("images_per_class", images_per_class, 1, MOST_PER_CLASS)
    _check("image_size", image_size, SMALLEST_SIDE, LARGEST_SIDE)
    _check("seed", seed, 0, 2**63 - 1)
    return (
        EncodedImage(
            name=f"{label}/{label}_{index:05d}.png",
            label=label,
            encoded=_draw(label, index, image_size=image_size, seed=seed),
        )
        for label in CLASSES
        for index in range(images_per_class)
    )


def _draw(label: str, index: int, *, image_size: int, seed: int) -> bytes:
    """Return the scene `index` of the class `label` as the bytes of a PNG file."""
    # Three streams: what is where, fine texture, and the camera. How many numbers the last two draw depends
    # on the image size; the layout does not, and so is the same at every size.
    layout, grain, lens = np.random.default_rng((seed, CLASSES.index(label), index)).spawn(3)
    theme = THEMES[label]
    canvas = Canvas(layout, grain, image_size=image_size, metres=layout.uniform(*theme.metres))
    theme.draw(canvas)
    file = io.BytesIO()
    photograph(canvas.image, lens, image_size=image_size).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _check(setting: str, given: int, low: int, high: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not low <= given <= high:
        raise SettingsError(f"{setting} must be a whole number from {low} to {high}, but {given!r} was given")
