"""Encoded bytes to RGB pixels, with every kind of broken image named."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasprune.errors import DataError
from nasprune.files import reason

_FORMATS = ("JPEG", "PNG", "TIFF")  # the fewest decoders that foreign bytes can reach
_LARGEST = 1 << 26  # pixels of one image: 8192 x 8192, far above a scene, far below what exhausts memory
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def decode(name: str, encoded: bytes, image_size: int | None = None) -> npt.NDArray[np.uint8]:
    """Decode one image, in full, to RGB; grey and palette images are converted, transparency is dropped.

    Resizing squeezes to a square with Pillow's bilinear filter, whose support grows with the reduction: it
    does not alias, it cannot overshoot as bicubic does, and torchvision's transforms do so by default.

    Args:
        name: how to call the image in an error.
        encoded: the file's bytes: JPEG, PNG or TIFF.
        image_size: the side in pixels to resize to; None keeps the image's own size.

    Returns:
        uint8 (height, width, 3).

    Raises:
        DataError: if the bytes are no whole image, the image is huge, or has more than 8 bits a channel.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            if width * height <= _LARGEST and image.mode in _EIGHT_BIT:
                image.load()
                rgb = image if image.mode == "RGB" else image.convert("RGB")
                if image_size is not None and image.size != (image_size, image_size):
                    rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(rgb, dtype=np.uint8)
            mode = image.mode
    except Exception as error:  # whatever a decoder raises on foreign bytes, the file is what is wrong
        raise DataError(f"image {name!r} cannot be read ({_first(error)}): replace or remove it") from error
    if mode not in _EIGHT_BIT:
        raise DataError(f"image {name!r} has pixels of kind {mode}: convert it to 8-bit RGB")
    raise DataError(f"image {name!r} has {width} x {height} pixels, at most {_LARGEST} are taken: cut it into scenes")


def _first(error: Exception) -> str:
    # Pillow prints the address of the buffer, which changes from run to run and tells nothing.
    return "not a JPEG, PNG or TIFF image" if "cannot identify" in str(error) else reason(error)
