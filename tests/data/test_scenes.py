"""Generated scenes: the same for the same seed whatever else is asked for, and told apart by more than colour."""

import io
import itertools
import time

import numpy as np
import pytest
from PIL import Image

from nasprune.data.scenes import CLASSES, generate
from nasprune.errors import SettingsError

SIDE = 32


def decoded(image) -> np.ndarray:
    with Image.open(io.BytesIO(image.encoded)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


@pytest.fixture(scope="module")
def scenes():
    return list(generate(images_per_class=6, image_size=SIDE, seed=3))


def test_every_class_gets_as_many_images_as_asked_for(scenes):
    assert len(CLASSES) == len(set(CLASSES)) >= 10
    assert [image.label for image in scenes] == [label for label in CLASSES for _ in range(6)]


def test_names_are_unique_and_lie_in_the_folder_of_their_class(scenes):
    assert len({image.name for image in scenes}) == len(scenes)
    assert all(image.name.split("/")[0] == image.label for image in scenes)


@pytest.mark.parametrize("side", [16, 39, 40, 100])
def test_images_have_the_size_asked_for(side):
    assert {decoded(image).shape for image in generate(images_per_class=1, image_size=side, seed=0)} == {
        (side, side, 3)
    }


def test_the_same_seed_gives_the_same_bytes(scenes):
    assert list(generate(images_per_class=6, image_size=SIDE, seed=3)) == scenes


def test_fewer_images_are_the_first_of_more(scenes):
    few = {image.name: image.encoded for image in generate(images_per_class=2, image_size=SIDE, seed=3)}
    more = {image.name: image.encoded for image in scenes}
    assert few.items() <= more.items()


def test_no_two_images_are_alike_within_or_across_seeds(scenes):
    others = generate(images_per_class=6, image_size=SIDE, seed=4)
    everything = [image.encoded for image in itertools.chain(scenes, others)]
    assert len(set(everything)) == len(everything)


def test_the_same_scene_is_drawn_at_every_size():
    """Twice as large and then halved, it is nearly the small one, and nearer to it than to other scenes."""
    small, large = (
        [decoded(image).astype(float) for image in generate(images_per_class=1, image_size=side, seed=7)]
        for side in (48, 96)
    )
    halved = [image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3)) for image in large]
    same = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, halved, strict=True)]
    crossed = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(small, halved[1:], strict=False)]
    assert np.median(same) > 0.9
    assert np.median(crossed) < 0.3


def test_images_are_neither_flat_nor_clipped(scenes):
    for image in scenes:
        pixels = decoded(image).astype(float)
        assert pixels.std() > 4, image.name
        assert np.mean((pixels == 0) | (pixels == 255)) < 0.6, image.name


def test_colour_alone_does_not_tell_the_classes_apart():
    """Nearest class by mean colour: better than chance, since forests are dark, but far from solved."""
    images = list(generate(images_per_class=24, image_size=SIDE, seed=1))
    colours = np.array([decoded(image).mean(axis=(0, 1)) for image in images]).reshape(len(CLASSES), 24, 3)
    centres = colours[:, :16].mean(axis=1)
    asked = colours[:, 16:].reshape(-1, 3)
    nearest = np.linalg.norm(asked[:, None] - centres[None], axis=2).argmin(axis=1)
    right = np.mean(nearest == np.repeat(np.arange(len(CLASSES)), 8))
    assert 1 / len(CLASSES) < right < 0.5


def test_drawing_is_quick():
    """About 200 a second on an idle core; a fifth of that is allowed for, in processor time."""
    started = time.process_time()
    count = sum(1 for _ in generate(images_per_class=3, image_size=64, seed=0))
    assert count / (time.process_time() - started) > 40


@pytest.mark.parametrize(
    "wrong",
    [
        {"images_per_class": 0},
        {"images_per_class": 2.5},
        {"images_per_class": True},
        {"images_per_class": 100_001},
        {"image_size": 15},
        {"image_size": 1025},
        {"image_size": "48"},
        {"seed": -1},
        {"seed": None},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_at_once_in_one_line(wrong):
    with pytest.raises(SettingsError) as refusal:
        generate(**{"images_per_class": 1, "image_size": 16, "seed": 0, **wrong})
    ((name, value),) = wrong.items()
    message = str(refusal.value)
    assert name in message
    assert repr(value) in message
    assert "\n" not in message
