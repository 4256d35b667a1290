"""Encoded bytes to pixels, with every kind of broken image named."""

import io
import logging

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, SAMPLEFORMAT, SAMPLESPERPIXEL, TiffImageFile

from nasprune.data.bands import RGB, Pixels, bands_of, check_pages, read_bands
from nasprune.data.tiff import count_pages
from nasprune.errors import DataError
from nasprune.files import reason

_FORMATS = ("JPEG", "PNG", "TIFF")  # the fewest decoders that foreign bytes can reach
_LARGEST = 1 << 26  # pixels of one image: 8192 x 8192, far above a scene, far below what exhausts memory
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_CHOOSE = "give --bands all, or the numbers of those to use, as --bands 3,2,1"


def decode(name: str, encoded: bytes, image_size: int | None = None, *, bands: str = RGB) -> Pixels:
    """Decode one image, in full, turned as its orientation tag says.

    Resizing squeezes to a square with Pillow's bilinear filter, whose support grows with the reduction: it
    does not alias, it cannot overshoot as bicubic does, and torchvision's transforms do so by default.

    Args:
        name: how to call the image in an error.
        encoded: the file's bytes: JPEG, PNG or TIFF.
        image_size: the side in pixels to resize to; None keeps the image's own size.
        bands: "rgb" takes images of 8 bits; grey and palette images are converted, transparency is dropped.
            Otherwise see `read_bands`.

    Returns:
        uint8 (height, width, 3), or what `read_bands` returns.

    Raises:
        DataError: if the bytes are no whole image, the image is huge, has other bands than asked for, or is one of
            several in its file.
    """
    # It prints what the errors below say, and that it cannot show bands which are read in another way.
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
    if bands != RGB:
        return read_bands(name, encoded, bands, image_size)
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            more, other = _more_bands(image), _other_numbers(image, encoded)
            pages = count_pages(encoded) if isinstance(image, TiffImageFile) else 1
            if width * height <= _LARGEST and image.mode in _EIGHT_BIT and not (more or other) and pages == 1:
                image.load()  # which turns TIFFs by itself, and takes their tag away
                upright = ImageOps.exif_transpose(image)
                rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
                if image_size is not None and rgb.size != (image_size, image_size):
                    rgb = rgb.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(rgb, dtype=np.uint8)
            mode = image.mode
    except Exception as error:  # whatever a decoder raises on foreign bytes, the file is what is wrong
        found = bands_of(encoded) if isinstance(error, UnidentifiedImageError) else None
        if found is not None:
            raise DataError(f"image {name!r} has {found}: {_advice(found)}") from error
        raise DataError(f"image {name!r} cannot be read ({_first(error)}): replace or remove it") from error
    check_pages(name, pages)
    if mode not in _EIGHT_BIT or other:
        kind = other or f"kind {mode}"
        advice = _advice(bands_of(encoded) or kind)
        raise DataError(f"image {name!r} has pixels of {kind}: convert it to 8-bit RGB, or {advice}")
    if more:
        raise DataError(f"image {name!r} has {more} bands: {_CHOOSE}")
    raise DataError(f"image {name!r} has {width} x {height} pixels, at most {_LARGEST} are taken: cut it into scenes")


def _advice(found: str) -> str:
    return _CHOOSE if found.endswith(("uint8", "uint16")) else "convert its values to unsigned integers of 8 or 16 bits"


def _more_bands(image: Image.Image) -> int:
    """Bands of a TIFF that Pillow would drop some of; 0 if it has no such ones.

    A fourth one may be infrared as well as transparency. Of bands that lie one after the other it may take the first.
    """
    if not isinstance(image, TiffImageFile) or image.mode == "CMYK":
        return 0
    bands = int(image.tag_v2.get(SAMPLESPERPIXEL, 1))
    return bands if bands > min(3, len(image.getbands())) else 0


def _other_numbers(image: Image.Image, encoded: bytes) -> str:
    """Name the numbers of an image that Pillow would read as if they were unsigned ones of 8 bits; empty if they are.

    Of 16-bit colours it keeps 8 bits, and signed bytes it takes for unsigned ones.
    """
    if image.format == "PNG":
        return "16 bits" if encoded[24] == 16 else ""  # the header's 25th byte
    if not isinstance(image, TiffImageFile):
        return ""
    bits, signed = max(image.tag_v2.get(BITSPERSAMPLE, (1,))), 2 in image.tag_v2.get(SAMPLEFORMAT, (1,))
    return f"{bits} bits" if bits > 8 else "signed numbers" if signed else ""


def _first(error: Exception) -> str:
    # Pillow prints the address of the buffer, which changes from run to run and tells nothing.
    return "not a JPEG, PNG or TIFF image" if "cannot identify" in str(error) else reason(error)
