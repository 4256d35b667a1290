"""Which classes a network takes for which: the confusion matrix, and what it says of each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Counts = Mapping[tuple[int, int], int]
"""A confusion matrix without its zeros: by label and answer, how many images; in order."""

Confusion = Mapping[str, Mapping[str, int]]
"""The same by names, as records hold it: of each class, how many images got which answer."""


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """How one class fares.

    Attributes:
        images: Of the class.
        right: Of these, how many were answered with it.
        taken_for: The class most often answered in its place, the first in order of equals; None if none was.
    """

    images: int
    right: int
    taken_for: str | None

    @property
    def accuracy(self) -> float:
        """The share that is right, in 0..1: recall, or what remote sensing calls the producer's accuracy."""
        return self.right / self.images


def accuracy(counts: Counts) -> float:
    """Overall accuracy in 0..1: the matrix's diagonal over its sum, which is not 0."""
    return sum(images for (label, answer), images in counts.items() if label == answer) / sum(counts.values())


def confidence(accuracy: float, images: int) -> tuple[float, float]:
    """Between which accuracies, in 0..1, a network's true one lies with a confidence of 95 %.

    Wilson's interval of a share (1927), which stays within 0..1 and has a width where all images are right.

    Args:
        accuracy: On the images, in 0..1.
        images: How many were drawn at random, at least 1.
    """
    z = 1.959964
    middle = (accuracy + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z / (1 + z**2 / images) * math.sqrt(accuracy * (1 - accuracy) / images + (z / (2 * images)) ** 2)
    return middle - reach, middle + reach


def by_name(counts: Counts, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """A matrix as records hold it; without images it is empty."""
    named: dict[str, dict[str, int]] = {}
    for (label, answer), images in counts.items():
        named.setdefault(classes[label], {})[classes[answer]] = images
    return named


def class_results(confusion: Confusion) -> dict[str, ClassResult]:
    """How each class fares that there are images of."""
    results = {}
    for name, answers in confusion.items():
        wrong = {answer: images for answer, images in answers.items() if answer != name}
        results[name] = ClassResult(
            images=sum(answers.values()),
            right=answers.get(name, 0),
            taken_for=max(wrong, key=lambda answer: wrong[answer]) if wrong else None,
        )
    return results


def worst_class_accuracy(confusion: Confusion) -> float:
    """That of the class that fares worst, in 0..1; NaN without images."""
    return min((result.accuracy for result in class_results(confusion).values()), default=float("nan"))
