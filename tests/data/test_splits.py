"""Splits: a seeded partition in which no image and no copy of it is on two sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasprune.data.splits import PARTS, check_fractions, published_split, stratified_split
from nasprune.errors import DataError, SettingsError
from tests.data.scene_files import raises_one_line

CLASSES = ("beach", "harbor", "river")


def parts_of(split, count):
    """(count,) which part each image is in; fails unless the parts are a partition."""
    part = np.full(count, -1)
    for number, name in enumerate(PARTS):
        indices = split.of(name)
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
        assert (part[indices] == -1).all()
        part[indices] = number
    assert (part >= 0).all()
    return part


@st.composite
def copied_sets(draw):
    """Labels and content hashes of three classes, with copies inside classes and across them."""
    counts = draw(st.tuples(*[st.integers(8, 40)] * 3))
    labels = np.repeat(np.arange(3), counts)
    hashes = [f"{number:04d}" for number in range(len(labels))]
    for copy, source in draw(st.lists(st.tuples(*[st.integers(0, len(labels) - 1)] * 2), max_size=6)):
        hashes[copy] = hashes[source]
    return labels, hashes


@given(copied_sets(), st.integers(0, 2**32))
def test_copies_never_straddle_and_every_image_has_one_part(given_set, seed):
    labels, hashes = given_set
    part = parts_of(stratified_split(labels, hashes, CLASSES, seed=seed), len(labels))
    by_content = {}
    for content, number in zip(hashes, part, strict=True):
        assert by_content.setdefault(content, number) == number
    for label in range(3):
        assert set(part[labels == label]) == {0, 1, 2}


@given(copied_sets(), st.integers(0, 2**32))
def test_the_order_the_images_come_in_does_not_matter(given_set, seed):
    labels, hashes = given_set
    order = np.random.default_rng(seed).permutation(len(labels))
    part = parts_of(stratified_split(labels, hashes, CLASSES, seed=seed), len(labels))
    shuffled = stratified_split(labels[order], [hashes[place] for place in order], CLASSES, seed=seed)
    assert np.array_equal(parts_of(shuffled, len(labels)), part[order])


@given(st.lists(st.integers(3, 200), min_size=3, max_size=3), st.integers(0, 2**32))
def test_every_class_is_split_by_the_fractions(counts, seed):
    labels = np.repeat(np.arange(3), counts)
    hashes = [str(number) for number in range(len(labels))]
    part = parts_of(stratified_split(labels, hashes, CLASSES, fractions=(0.7, 0.1, 0.2), seed=seed), len(labels))
    for label, count in enumerate(counts):
        got = np.bincount(part[labels == label], minlength=3)
        assert (got >= 1).all()
        if count >= 10:
            assert (np.abs(got - count * np.array([0.7, 0.1, 0.2])) < 1).all()


def test_a_hundred_images_a_class_are_split_exactly():
    labels = np.repeat(np.arange(21), 100)
    split = stratified_split(labels, [str(n) for n in range(2100)], [str(n) for n in range(21)], seed=3)
    assert [len(split.of(part)) for part in PARTS] == [1470, 210, 420]


def test_the_seed_decides_and_nothing_else():
    labels = np.repeat(np.arange(3), 50)
    hashes = [str(number) for number in range(150)]
    first, again, other = (parts_of(stratified_split(labels, hashes, CLASSES, seed=seed), 150) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_image_may_come_into_every_part():
    labels = np.repeat(np.arange(2), 10)
    hashes = [str(number) for number in range(20)]
    seen = np.zeros((20, 3), dtype=bool)
    for seed in range(200):
        seen[np.arange(20), parts_of(stratified_split(labels, hashes, CLASSES[:2], seed=seed), 20)] = True
    assert seen.all()


@pytest.mark.parametrize(
    "fractions",
    [
        (0.7, 0.3),
        (0.7, 0.1, 0.1),
        (0.8, 0.0, 0.2),
        (1.2, -0.4, 0.2),
        (float("nan"), 0.5, 0.5),
        (0.6, 0.2, 0.2, 0.0),
    ],
)
def test_fractions_that_are_no_split_are_refused(fractions):
    with raises_one_line(SettingsError, "three positive numbers", "sum 1"):
        check_fractions(fractions)


def test_fractions_may_be_rounded():
    check_fractions((0.333_333_3, 0.333_333_3, 0.333_333_4))


@pytest.mark.parametrize(
    ("hashes", "words"),
    [
        (["a", "b"], ["'river'", "2 images", "2 of them different"]),
        (["a", "a", "a"], ["'river'", "3 images", "1 of them different"]),
    ],
)
def test_a_class_too_small_for_the_split_is_named(hashes, words):
    labels = np.array([0] * 5 + [1] * len(hashes))
    with raises_one_line(DataError, *words):
        stratified_split(labels, [*"vwxyz", *hashes], ("beach", "river"), seed=0)


NAMES = tuple(f"{label}/{label}{number}.jpg" for label in CLASSES for number in range(6))
LABELS = np.repeat(np.arange(3), 6)
HASHES = [str(number) for number in range(18)]
PART_OF = {
    f"{label}{number}": part
    for label in CLASSES
    for number, part in enumerate(("train", "test", "train", "validation", "train", "test"))
}


def test_published_parts_match_on_the_stem():
    split = published_split(NAMES, LABELS, HASHES, CLASSES, part_of={**PART_OF, "absent7": "test"})
    assert parts_of(split, 18).tolist() == [0, 2, 0, 1, 0, 2] * 3


def test_published_copies_all_go_to_the_last_part_they_are_listed_for():
    hashes = HASHES.copy()
    hashes[0] = hashes[1]  # train and test
    hashes[8] = hashes[9]  # train and validation
    part = parts_of(published_split(NAMES, LABELS, hashes, CLASSES, part_of=PART_OF), 18)
    assert part[0] == part[1] == 2
    assert part[8] == part[9] == 1
    assert (part[[2, 3, 4, 5, 6, 7]] == [0, 1, 0, 2, 0, 2]).all()


def test_an_image_that_is_in_no_list_is_named():
    with raises_one_line(DataError, "'river/river5.jpg'", "stratified"):
        published_split(NAMES, LABELS, HASHES, CLASSES, part_of={k: v for k, v in PART_OF.items() if k != "river5"})


def test_a_published_split_without_validation_images_of_a_class_is_refused():
    with raises_one_line(DataError, "'harbor'", "validation"):
        published_split(NAMES, LABELS, HASHES, CLASSES, part_of={**PART_OF, "harbor3": "train"})
