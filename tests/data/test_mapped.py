"""Mapped images: what `gather` returns is what decoding gives, from anywhere in the file, in any thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from nasprune.data import mapped
from nasprune.data.decode import decode
from nasprune.data.store import pack
from nasprune.errors import DataError
from tests.data.scene_files import raises_one_line, scenes

SIZE = 16
IMAGES = scenes(per_class=15, size=(20, 12))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """45 images in record batches of 7, the last of 3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "_BATCH_BYTES", 7 * SIZE * SIZE * 3 + 5)
        return pack("three", IMAGES, tmp_path_factory.mktemp("mapped")).images(SIZE)


@pytest.fixture(scope="module")
def decoded():
    return torch.from_numpy(np.stack([decode(image.name, image.encoded, SIZE) for image in IMAGES]))


def test_gather_equals_decoding(images, decoded):
    assert len(images) == 45
    for seed in range(5):
        indices = np.random.default_rng(seed).integers(0, 45, 64)
        gathered = images.gather(indices)
        assert gathered.dtype == torch.uint8
        assert gathered.shape == (64, 3, SIZE, SIZE)
        assert gathered.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(gathered.permute(0, 2, 3, 1), decoded[indices])


def test_what_is_gathered_is_the_callers_own(images, decoded):
    images.gather(np.arange(45)).zero_()
    assert torch.equal(images.gather(np.arange(45)).permute(0, 2, 3, 1), decoded)


def test_threads_share_one_map(images, decoded):
    def check(seed):
        indices = np.random.default_rng(seed).integers(0, 45, 32)
        return torch.equal(images.gather(indices).permute(0, 2, 3, 1), decoded[indices])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(check, range(64)))


def test_nothing_gathered_is_an_empty_batch(images):
    assert images.gather(np.array([], dtype=np.int64)).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("index", [-1, 45])
def test_an_index_outside_is_an_error(images, index):
    with pytest.raises(IndexError, match="of 45"):
        images.gather(np.array([0, index]))


def test_the_batch_length_changes_nothing(tmp_path, decoded):
    whole = pack("three", IMAGES, tmp_path).images(SIZE)
    assert torch.equal(whole.gather(np.arange(45)).permute(0, 2, 3, 1), decoded)


def test_each_size_has_its_own_file(tmp_path):
    store = pack("three", IMAGES, tmp_path)
    assert store.images(16).gather(np.array([0])).shape[-1] == 16
    assert store.images(24).gather(np.array([0])).shape[-1] == 24
    assert len(list(tmp_path.glob("pixels-*.arrow"))) == 2


def test_the_threads_take_inputs_as_they_go(monkeypatch):
    """A few at a time: each may be an image of hundreds of megabytes."""
    monkeypatch.setattr(mapped, "_cores", lambda: 2)
    taken = []

    def given():
        for number in range(2000):
            taken.append(number)
            yield number

    doubled = mapped.in_threads(lambda number: 2 * number, given())
    assert [next(doubled) for _ in range(3)] == [0, 2, 4]
    assert len(taken) <= 12
    assert list(doubled) == [2 * number for number in range(3, 2000)]


def test_a_file_of_another_size_is_refused(tmp_path):
    store = pack("three", IMAGES, tmp_path)
    store.images(16)
    (path,) = tmp_path.glob("pixels-16-*.arrow")
    with raises_one_line(DataError, path.name, "remove it"):
        mapped.MappedImages(path, 24)
