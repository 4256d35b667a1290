"""Which way up an image is: cameras store it as the sensor was held, and leave a tag that says how to turn it."""

import io
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from nasprune.data.tiff import orientation_tag

_Kind = TypeVar("_Kind", bound=np.generic)
_UPRIGHT = 1
_STEPS = {2: "c", 3: "rc", 4: "r", 5: "t", 6: "rt", 7: "rct", 8: "ct"}
"""By tag: rows reversed, columns reversed, and then both exchanged."""


def orientation(encoded: bytes) -> int:
    """The orientation tag of an image file, 1 to 8; 1, upright, where there is none."""
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "TIFF")) as image:
            tag = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever a decoder raises on bands that it cannot show
        tag = orientation_tag(encoded)
    return tag if tag in _STEPS else _UPRIGHT


def turned(pixels: NDArray[_Kind], tag: int) -> NDArray[_Kind]:
    """Pixels (bands, height, width) the way up that an orientation tag says."""
    steps = _STEPS.get(tag, "")
    if "r" in steps:
        pixels = pixels[:, ::-1]
    if "c" in steps:
        pixels = pixels[:, :, ::-1]
    return pixels.swapaxes(1, 2) if "t" in steps else pixels
