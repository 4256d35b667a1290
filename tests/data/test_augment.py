"""Augmentation: repeatable, and only what its settings name."""

import numpy as np
import pytest
import torch

from nasprune.data.augment import Augmentation, augment
from nasprune.errors import SettingsError
from tests.data.scene_files import raises_one_line

NOTHING = {"flips": False, "transposes": False, "shift": 0.0, "jitter": 0.0}
SIDE = 8


def batch(count, seed=0):
    pixels = torch.randint(
        0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return pixels.permute(0, 3, 1, 2)


def one_in(count):
    """The same image `count` times."""
    return batch(1).expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)


def augmented(images, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return augment(images, Augmentation(**{**NOTHING, **settings}), generator)


def pictures(image):
    """(3, S, S) -> the eight pictures a square tile can make."""
    flat = [image.rot90(turns, (1, 2)) for turns in range(4)]
    return [*flat, *(one.transpose(1, 2) for one in flat)]


def found_in(candidates, results):
    """Which candidate each result equals; fails if one equals none."""
    found = []
    for result in results:
        (match, *_) = [place for place, one in enumerate(candidates) if torch.equal(one, result)]
        found.append(match)
    return found


def test_nothing_asked_for_changes_nothing_but_the_scale():
    images = batch(5)
    result = augmented(images)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, images.float() / 255) or torch.allclose(result, images / 255, atol=1e-7)


def test_flips_and_transposes_are_the_eight_symmetries_each_as_likely():
    result = augmented(one_in(1600), flips=True, transposes=True)
    counts = np.bincount(found_in(pictures(augmented(one_in(1))[0]), result), minlength=8)
    assert (np.abs(counts - 200) < 5 * np.sqrt(200)).all()


def test_flips_alone_are_four_and_transposes_alone_two():
    plain = augmented(one_in(1))[0]
    assert len(set(found_in(pictures(plain), augmented(one_in(100), flips=True)))) == 4
    shown = found_in([plain, plain.transpose(1, 2)], augmented(one_in(100), transposes=True))
    assert set(shown) == {0, 1}


def test_a_shift_is_a_crop_of_the_reflected_image():
    plain = augmented(one_in(1))[0]
    reach = round(0.25 * SIDE)
    padded = np.pad(plain.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    crops = [
        torch.from_numpy(padded[:, down : down + SIDE, across : across + SIDE])
        for down in range(2 * reach + 1)
        for across in range(2 * reach + 1)
    ]
    assert set(found_in(crops, augmented(one_in(600), shift=0.25))) == set(range(len(crops)))


def test_the_largest_shift_still_finds_its_pixels():
    result = augmented(one_in(200), shift=0.5)
    assert set(result.unique().tolist()) <= set(augmented(one_in(1)).unique().tolist())


def test_jitter_is_brightness_then_contrast_then_colour():
    images = batch(40).float().mul(0.4).add(60).byte()  # mid-tones: nothing is cut, so the order can be checked
    draw = torch.Generator().manual_seed(7)
    torch.randint(0, 1, (2, 40, 1), generator=draw)  # the draws of shift, flips and transposes come first
    torch.rand((2, 40, 1), generator=draw)
    torch.rand((40, 1), generator=draw)
    factors = 1 + 0.2 * (2 * torch.rand((3, 40, 1, 1, 1), generator=draw) - 1)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    x = images.double() / 255 * factors[0]
    mean = (x * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    x = mean + factors[1] * (x - mean)
    grey = (x * luma).sum(1, keepdim=True)
    expected = grey + factors[2] * (x - grey)
    assert 0 < expected.min() < expected.max() < 1
    torch.testing.assert_close(augmented(images, seed=7, jitter=0.2).double(), expected, atol=1e-6, rtol=0)


def test_jitter_stays_between_black_and_white_and_differs_from_image_to_image():
    result = augmented(one_in(64), jitter=0.9)
    assert result.min() >= 0
    assert result.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in result}) == 64


def test_the_generator_decides_everything():
    everything = {"flips": True, "transposes": True, "shift": 0.125, "jitter": 0.2}
    images = batch(32)
    first, again, other = (augmented(images, seed=seed, **everything) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_images_given_are_left_as_they_are():
    images = batch(4)
    before = images.clone()
    augmented(images, flips=True, shift=0.2, jitter=0.5)
    assert torch.equal(images, before)


@pytest.mark.parametrize("settings", [{"shift": -0.1}, {"shift": 0.6}, {"jitter": -0.1}, {"jitter": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    ((name, value),) = settings.items()
    with raises_one_line(SettingsError, name, f"{value:g}"):
        Augmentation(**settings)
