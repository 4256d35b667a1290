"""Mean and deviation equal those of all pixels at once, however they are taken in."""

import numpy as np
import pytest

from nasprune.data import statistics
from nasprune.data.statistics import measure
from nasprune.data.store import pack
from nasprune.errors import DataError
from tests.data.scene_files import encode, raises_one_line, scenes


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pack("three", scenes(size=(16, 16)), tmp_path_factory.mktemp("statistics")).images(16)


@pytest.mark.parametrize("chunk", [1, 700, 1 << 20])
def test_they_are_those_of_the_chosen_pixels(images, monkeypatch, chunk):
    monkeypatch.setattr(statistics, "_CHUNK_PIXELS", chunk)
    indices = np.array([3, 1, 20, 8, 11])
    pixels = images.gather(indices).numpy() / 255
    measured = measure(images, indices)
    np.testing.assert_allclose(measured.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(measured.deviation, pixels.std((0, 2, 3)), rtol=1e-10)


def test_order_does_not_change_a_bit(images):
    assert measure(images, np.arange(30)) == measure(images, np.arange(30)[::-1])


def test_a_colour_that_never_varies_normalises_to_zero(tmp_path):
    array = np.zeros((16, 16, 3), dtype=np.uint8)
    array[..., 1] = 100
    array[:8, :, 2] = 255
    same = [type(image)(name=image.name, label=image.label, encoded=encode(array)) for image in scenes()]
    measured = measure(pack("three", same, tmp_path).images(16), np.arange(30))
    assert measured.mean == (0.0, 100 / 255, 0.5)
    assert measured.deviation == (1.0, 1.0, 0.5)


def test_no_images_is_an_error(images):
    with raises_one_line(DataError, "empty"):
        measure(images, np.array([], dtype=np.int64))
