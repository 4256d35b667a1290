"""Bands of any number and of 8 or 16 bits, read by GDAL: what a camera that sees more than colours leaves."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasprune.data.orientation import orientation, turned
from nasprune.errors import DataError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio.io import DatasetReader

Pixels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

RGB, ALL = "rgb", "all"
_KINDS = ("uint8", "uint16")
_DRIVERS = ["GTiff", "PNG", "JPEG"]  # the fewest decoders that foreign bytes can reach
_LARGEST = 1 << 28  # values of one image: 8192 x 8192 of four bands, far above a scene


def check_bands(bands: str) -> None:
    """Refuse what names no bands.

    Raises:
        SettingsError: unless `bands` is "rgb", "all" or different numbers from 1, as "4,3,2".
    """
    if bands in (RGB, ALL):
        return
    numbers = bands.split(",")
    if not all(re.fullmatch("[1-9][0-9]{0,4}", number) for number in numbers) or len(set(numbers)) < len(numbers):
        raise SettingsError(
            f"bands '{bands}': give rgb, all, or different numbers from 1 in the order wanted, as 4,3,2"
        )


def read_bands(name: str, encoded: bytes, bands: str, image_size: int | None = None) -> Pixels:
    """Read bands of one image, in full, with the values they have in the file, turned as its orientation tag says.

    Resizing squeezes every band to a square with the filter that colours get, Pillow's bilinear one.

    Args:
        name: how to call the image in an error.
        encoded: the file's bytes: TIFF, PNG or JPEG.
        bands: "all", or numbers as `check_bands` takes them; the first band of a file is 1.
        image_size: the side in pixels to resize to; None keeps the image's own size.

    Returns:
        uint8 or uint16 (height, width, bands).

    Raises:
        DataError: if the bytes are no whole image, the image is huge, lacks a band, has values of another kind, or is
            one of several in its file.
    """
    with _opened(name, encoded) as image:
        check_pages(name, max(1, len(image.subdatasets)))
        numbers = list(range(1, image.count + 1)) if bands == ALL else [int(number) for number in bands.split(",")]
        if max(numbers) > image.count:
            raise DataError(f"image {name!r} has {image.count} bands, no band {max(numbers)}: give others with --bands")
        kinds = sorted({image.dtypes[number - 1] for number in numbers})
        if len(kinds) > 1 or kinds[0] not in _KINDS:
            raise DataError(
                f"image {name!r} has values of kind {', '.join(kinds)}: convert it to unsigned integers of 8 or 16 bits"
            )
        if image.colorinterp[0].name == "palette":
            raise DataError(f"image {name!r} has a palette instead of bands: give --bands rgb")
        bits = min(int(image.tags(number, ns="IMAGE_STRUCTURE").get("NBITS", 8)) for number in numbers)
        if bits < 8:  # left as they are, they would be almost black among 8-bit ones
            raise DataError(f"image {name!r} has {bits}-bit values: convert it to 8 or 16 bits, or give --bands rgb")
        if image.width * image.height * len(numbers) > _LARGEST:
            raise DataError(
                f"image {name!r} has {image.width} x {image.height} pixels of {len(numbers)} bands, at most {_LARGEST} "
                "values are taken: cut it into scenes"
            )
        values = turned(image.read(numbers), orientation(encoded))
    if image_size is not None and values.shape[1:] != (image_size, image_size):
        values = np.stack([_squeezed(band, image_size) for band in values])
    return cast("Pixels", np.ascontiguousarray(np.moveaxis(values, 0, -1)))


def check_pages(name: str, pages: int) -> None:
    """Refuse a file of several images, of which the first alone would be read.

    Args:
        name: how to call the file in an error.
        pages: how many it holds; overviews of an image and masks are none.

    Raises:
        DataError: if there is more than one.
    """
    if pages > 1:
        raise DataError(
            f"image {name!r} has {pages} pages, one is expected: write bands into one page, images into a file each"
        )


def bands_of(encoded: bytes) -> str | None:
    """Say how many bands of which kind an image has, as "13 bands of uint16"; None if GDAL cannot read it either."""
    try:
        with _opened("", encoded) as image:
            return f"{image.count} bands of {image.dtypes[0]}"
    except DataError:
        return None


@contextmanager
def _opened(name: str, encoded: bytes) -> Iterator[DatasetReader]:
    try:
        import rasterio  # here, since images of three colours do without
    except ImportError as error:
        raise DataError(f"image {name!r} is read by rasterio, which is not installed: pip install rasterio") from error
    # Scenes cut out of a larger image often have no coordinates. Filters belong to the process, not to a thread.
    warnings.filterwarnings("ignore", "Dataset has no geotransform")
    try:
        with (
            rasterio.Env(GDAL_PNG_WHOLE_IMAGE_OPTIM="NO"),  # which fills up an image that was cut off, without a word
            rasterio.MemoryFile(encoded or b"\0") as file,  # of nothing at all it would make a file to be written
            file.open(driver=_DRIVERS) as image,
        ):
            yield image
    except (rasterio.errors.RasterioError, ValueError) as error:  # its words hold a name drawn at random
        raise DataError(
            f"image {name!r} cannot be read (not a whole TIFF, PNG or JPEG image): replace or remove it"
        ) from error


def _squeezed(band: Pixels, side: int) -> Pixels:
    deep = band.dtype == np.uint16  # which Pillow resizes as float32 alone without loss
    image = Image.fromarray(band.astype(np.float32) if deep else band)
    squeezed = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    return np.rint(squeezed).astype(np.uint16) if deep else squeezed
