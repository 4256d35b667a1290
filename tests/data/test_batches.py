"""Batches: which images, in which order, with which labels, is fixed by (seed, epoch)."""

import numpy as np
import pytest
import torch

from nasprune.data import Batches
from nasprune.data.augment import Augmentation
from nasprune.data.readers import EncodedImage
from nasprune.data.statistics import Statistics
from nasprune.data.store import pack
from nasprune.errors import DataError, SettingsError
from tests.data.scene_files import encode, raises_one_line

CPU = torch.device("cpu")
ALL = tuple(range(60))
STATISTICS = Statistics(mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.25, 0.3))
STILL = Augmentation(flips=False, transposes=False, shift=0.0, jitter=0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Image n of 60 is one flat colour whose red is n, so every image of a batch tells which it is."""
    flat = [
        EncodedImage(
            name=f"{'abc'[n // 20]}/{n:02d}.png",
            label="abc"[n // 20],
            encoded=encode(np.full((16, 16, 3), (n, 2 * n, 3 * n), dtype=np.uint8)),
        )
        for n in range(60)
    ]
    return pack("flat", flat, tmp_path_factory.mktemp("batches"))


@pytest.fixture(scope="module")
def make(store):
    images = store.images(16)

    def batches(indices=ALL, batch_size=16, augmentation=None, seed=0):
        return Batches(
            images,
            store.labels,
            np.array(indices),
            batch_size=batch_size,
            statistics=STATISTICS,
            device=CPU,
            augmentation=augmentation,
            seed=seed,
        )

    return batches


def numbers(x):
    """Normalised flat images -> their numbers."""
    red = x[:, 0, 0, 0] * STATISTICS.deviation[0] + STATISTICS.mean[0]
    return (red * 255).round().long().tolist()


def epoch(batches, number=0):
    return [n for x, _ in batches.epoch(number) for n in numbers(x)]


def test_without_augmentation_every_image_comes_once_in_order(make):
    batches = make(batch_size=16)
    got = list(batches.epoch(5))
    assert len(batches) == len(got) == 4
    assert [len(x) for x, _ in got] == [16, 16, 16, 12]
    assert epoch(batches) == list(range(60))
    assert batches.images_count == 60


def test_pixels_are_normalised_and_channels_last(make):
    ((x, y),) = make([7], batch_size=4).epoch(0)
    expected = (torch.tensor([7.0, 14.0, 21.0]) / 255 - torch.tensor(STATISTICS.mean)) / torch.tensor(
        STATISTICS.deviation
    )
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert x.shape == (1, 3, 16, 16)
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x[0, :, 3, 4], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("augmentation", [None, STILL, Augmentation(jitter=0.0)])
def test_labels_follow_their_images(make, augmentation):
    for x, y in make(augmentation=augmentation).epoch(3):
        assert [n // 20 for n in numbers(x)] == y.tolist()


def test_with_augmentation_every_image_comes_once_in_an_order_of_its_epoch(make):
    batches = make(batch_size=12, augmentation=STILL)
    first, again, other = epoch(batches, 0), epoch(batches, 0), epoch(batches, 1)
    assert sorted(first) == sorted(other) == list(range(60))
    assert first == again != other
    assert epoch(make(batch_size=12, augmentation=STILL, seed=1), 0) != first


@pytest.mark.parametrize("augmentation", [None, STILL])
@pytest.mark.parametrize("count", [60, 53, 50])
def test_the_order_says_which_images_an_epoch_serves(make, augmentation, count):
    batches = make(indices=ALL[::-1][:count], augmentation=augmentation)
    assert [ALL[::-1][place] for place in batches.order(3)] == epoch(batches, 3)


def test_seed_and_epoch_fix_every_pixel(make):
    def pixels(seed, number):
        got = list(make(augmentation=Augmentation(), seed=seed).epoch(number))
        return torch.cat([x for x, _ in got])

    assert torch.equal(pixels(3, 4), pixels(3, 4))
    assert not torch.equal(pixels(3, 4), pixels(3, 5))
    assert not torch.equal(pixels(3, 4), pixels(4, 4))


def test_epochs_do_not_depend_on_which_came_before(make):
    batches = make(augmentation=STILL)
    late = epoch(batches, 9)
    next(batches.epoch(2))
    assert epoch(batches, 9) == late


@pytest.mark.parametrize(
    ("count", "sizes"), [(16, [16]), (5, [5]), (23, [16]), (24, [16, 8]), (31, [16, 15]), (32, [16, 16])]
)
def test_a_small_last_training_batch_is_left_out_unless_it_is_the_only_one(make, count, sizes):
    batches = make(range(count), augmentation=STILL)
    assert [len(x) for x, _ in batches.epoch(0)] == sizes
    assert len(batches) == len(sizes)
    assert sum(len(x) for x, _ in make(range(count)).epoch(0)) == count


def test_of_several_training_batches_none_has_one_image(make):
    """Batch norm refuses it where nothing but channels is left."""
    for batch_size in range(2, 8):
        for count in range(batch_size, 20):
            sizes = [len(x) for x, _ in make(range(count), batch_size, STILL).epoch(0)]
            assert min(sizes) > 1
            assert 2 * min(sizes) >= batch_size


def test_what_cannot_be_served_is_refused(make):
    with raises_one_line(DataError, "empty"):
        make([])
    with raises_one_line(SettingsError, "batch size 0"):
        make(batch_size=0)


def test_a_batch_may_be_changed_by_its_taker(make):
    batches = make()
    for x, y in batches.epoch(0):
        x.zero_()
        y.zero_()
    assert epoch(batches) == list(range(60))
