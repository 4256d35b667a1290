"""Decoding: every whole 8-bit image becomes RGB, everything else is named."""

import io

import numpy as np
import pytest
from PIL import Image

from nasprune.data import decode as decoding
from nasprune.data.decode import decode
from nasprune.errors import DataError
from tests.data.scene_files import encode, pixels, png, raises_one_line


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind):
    array = pixels(0, (7, 5))
    assert np.array_equal(decode("a", encode(array, kind)), array)


def test_jpeg_is_read_as_pillow_reads_it():
    encoded = encode(pixels(0, (16, 16)), "JPEG")
    assert np.array_equal(decode("a", encoded), np.asarray(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_rgb(mode):
    source = Image.fromarray(pixels(0)).convert(mode)
    target = io.BytesIO()
    source.save(target, "TIFF" if mode == "CMYK" else "PNG")
    read = decode("a", target.getvalue())
    assert read.shape == (8, 8, 3)
    assert np.array_equal(read, np.asarray(source.convert("RGB")))


def test_resizing_is_pillows_bilinear_filter_to_a_square():
    array = pixels(0, (30, 20))
    expected = Image.fromarray(array).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(decode("a", encode(array), 16), np.asarray(expected))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_a_cut_image_is_named(kind):
    encoded = encode(pixels(0, (64, 64)), kind)
    with raises_one_line(DataError, "beach/cut", "replace or remove"):
        decode("beach/cut", encoded[: len(encoded) // 2])


@pytest.mark.parametrize("content", [b"", b"a note, not an image", b"\x89PNG\r\n\x1a\n", b"II*\0" + bytes(30)])
def test_what_is_no_image_is_named(content):
    with raises_one_line(DataError, "beach/note.jpg", "cannot be read"):
        decode("beach/note.jpg", content)


def test_a_format_that_is_not_taken_is_refused_whatever_its_suffix():
    with raises_one_line(DataError, "a.jpg", "not a JPEG, PNG or TIFF image"):
        decode("a.jpg", encode(pixels(0), "GIF"))


def test_sixteen_bits_are_refused_instead_of_cut():
    with raises_one_line(DataError, "deep.png", "16 bits", "8-bit"):
        decode("deep.png", encode(np.full((4, 4), 40_000, dtype=np.uint16)))


def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(decoding, "_LARGEST", 63)
    with raises_one_line(DataError, "huge.png", "8 x 8"):
        decode("huge.png", png(0))
