"""What a confusion matrix says of each class."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasprune.confusion import accuracy, by_name, class_results, confidence, worst_class_accuracy

CLASSES = ("farm", "port", "road")
COUNTS = {(0, 0): 3, (1, 0): 1, (1, 1): 4, (1, 2): 2}


def test_a_class_fares_as_its_row_says():
    results = class_results(by_name(COUNTS, CLASSES))
    assert results.keys() == {"farm", "port"}  # of roads there are no images
    farm, port = results.values()
    assert (farm.images, farm.right, farm.taken_for, farm.accuracy) == (3, 3, None, 1.0)
    assert (port.images, port.right, port.taken_for) == (7, 4, "road")
    assert port.accuracy == worst_class_accuracy(by_name(COUNTS, CLASSES)) == pytest.approx(4 / 7)
    assert accuracy(COUNTS) == 0.7


def test_records_hold_names():
    assert by_name(COUNTS, CLASSES) == {"farm": {"farm": 3}, "port": {"farm": 1, "port": 4, "road": 2}}


def test_a_class_that_is_never_recognised_counts_as_the_worst():
    assert worst_class_accuracy({"farm": {"port": 2}, "port": {"port": 5}}) == 0.0


def test_without_images_nothing_is_said():
    assert by_name({}, CLASSES) == class_results({}) == {}
    assert math.isnan(worst_class_accuracy({}))


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_confidence_holds_what_was_measured_and_only_what_can_be(images, share):
    accuracy = round(share * images) / images
    low, high = confidence(accuracy, images)
    assert -1e-12 <= low <= accuracy + 1e-12
    assert accuracy - 1e-12 <= high <= 1 + 1e-12
    assert high > low


@pytest.mark.parametrize("images", [20, 105, 1000])
def test_the_true_accuracy_lies_within_the_confidence_95_times_of_100(images):
    trues = [number / 200 for number in range(100, 200)]
    covered = 0.0
    for right in range(images + 1):
        low, high = confidence(right / images, images)
        ways = math.comb(images, right)
        covered += sum(ways * true**right * (1 - true) ** (images - right) for true in trues if low <= true <= high)
    assert covered / len(trues) == pytest.approx(0.95, abs=0.01)


@given(st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.integers(1, 9), min_size=1))
def test_overall_accuracy_lies_between_the_classes(counts):
    named = by_name(counts, [f"c{number}" for number in range(5)])
    of_classes = [result.accuracy for result in class_results(named).values()]
    assert min(of_classes) - 1e-12 <= accuracy(counts) <= max(of_classes) + 1e-12
    assert worst_class_accuracy(named) == min(of_classes)
    assert sum(result.images for result in class_results(named).values()) == sum(counts.values())
