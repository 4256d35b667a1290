"""Orientation: an image comes the way up that its tag says, whatever its format, and whichever bands are read."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from nasprune.data.decode import decode
from tests.data.scene_files import encode, geotiff, pixels

TAG = 274
KINDS = ["PNG", "JPEG", "TIFF"]


def tagged(array, kind, tag):
    exif = Image.Exif()
    exif[TAG] = tag
    # Two decoders of JPEG agree where no colours are to be spread over pixels.
    return encode(array, kind, exif=exif, **({"subsampling": 0} if kind == "JPEG" else {}))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chosen", ["rgb", "all"])
def test_every_reading_is_turned_as_a_viewer_turns_it(kind, tag, chosen):
    encoded = tagged(pixels(0, (24, 16)), kind, tag)
    with Image.open(io.BytesIO(encoded)) as image:
        seen = np.asarray(ImageOps.exif_transpose(image))
    assert seen.shape == ((24, 16, 3) if tag > 4 else (16, 24, 3))
    assert np.array_equal(decode("a", encoded, bands=chosen), seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chosen", ["rgb", "all"])
def test_it_is_turned_before_it_is_resized(kind, chosen):
    array = pixels(0, (24, 16))
    upright = np.rot90(decode("a", tagged(array, kind, 1)), -1)
    expected = Image.fromarray(upright).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(decode("a", tagged(array, kind, 6), 16, bands=chosen), np.asarray(expected))


@pytest.mark.parametrize("bigtiff", ["no", "yes"])
@pytest.mark.parametrize("endianness", ["little", "big"])
def test_bands_that_no_viewer_shows_are_turned_too(bigtiff, endianness):
    array = np.random.default_rng(0).integers(0, 65535, (6, 4, 13), dtype=np.uint16)
    plain = geotiff(array, bigtiff=bigtiff, endianness=endianness)
    # GDAL writes no orientation: one comes to where it says that bands lie side by side, which is what is assumed.
    layout = {"little": "<", "big": ">"}[endianness] + {"no": "HHLH", "yes": "HHQH"}[bigtiff]
    side_by_side, sixth = struct.pack(layout, 284, 3, 1, 1), struct.pack(layout, TAG, 3, 1, 6)
    assert plain.count(side_by_side) == 1
    turned = decode("a", plain.replace(side_by_side, sixth), bands="all")
    assert np.array_equal(turned, np.rot90(decode("a", plain, bands="all"), -1))
