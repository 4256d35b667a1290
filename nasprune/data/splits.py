"""Which images train, validate and test: seeded, stratified, copies of one image always together."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasprune.errors import DataError, SettingsError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A partition of the images: int64 arrays of increasing indices, disjoint, together all images."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    def of(self, part: Part) -> npt.NDArray[np.int64]:
        """The indices of one part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse fractions that are not three positive numbers with sum 1.

    Raises:
        SettingsError: if they are not.
    """
    good = len(fractions) == 3 and all(math.isfinite(part) and part > 0 for part in fractions)
    if not good or abs(sum(fractions) - 1) > 1e-6:
        given = ", ".join(f"{part:g}" for part in fractions)
        raise SettingsError(
            f"split fractions {given}: give three positive numbers (train, validation, test) with sum 1"
        )


def stratified_split(
    labels: npt.NDArray[np.int64],
    content_hashes: Sequence[str],
    classes: Sequence[str],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2),
    seed: int,
) -> Split:
    """Split every class by `fractions`, as nearly as whole images and copies allow.

    The outcome depends on the images' contents and the seed, not on the order they are given in. Images of
    equal content go to one part, under whatever labels they stand.

    Args:
        labels: int64 (N,), places in `classes`.
        content_hashes: (N,) equal for copies of one image.
        classes: names, for errors.
        fractions: shares of train, validation and test.
        seed: of the shuffle.

    Raises:
        SettingsError: if the fractions are not three positive numbers with sum 1.
        DataError: if a class cannot give an image to every part.
    """
    check_fractions(fractions)
    copies: defaultdict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(content_hashes):
        copies[content].append(index)
    groups = [copies[content] for content in sorted(copies)]
    random = np.random.default_rng(seed)
    order = [groups[place] for place in random.permutation(len(groups))]
    order.sort(key=len, reverse=True)  # stable: large groups first, while every part still has room for them

    present = np.bincount(labels, minlength=len(classes))
    wanted = np.array([_counts(int(total), fractions) for total in present])  # (classes, parts)
    left = wanted.copy()
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for group in order:
        held = np.bincount(labels[group], minlength=len(classes))
        # To the part that lacks the largest share of what it wants of these classes; of equals, the first.
        chosen = int(np.argmax(held @ (left / np.maximum(wanted, 1))))
        parts[chosen].extend(group)
        left[:, chosen] -= held
    split = _as_split(parts)
    _check_every_part(split, labels, content_hashes, classes)
    return split


def published_split(
    names: Sequence[str],
    labels: npt.NDArray[np.int64],
    content_hashes: Sequence[str],
    classes: Sequence[str],
    *,
    part_of: Mapping[str, Part],
) -> Split:
    """Split as published lists say. Names match on the file's stem: copies in another format keep their part.

    Where the lists put copies of one image into several parts, all copies go to the last of these parts
    (train, validation, test): no image leaves the test part, and training sees none of them.

    Args:
        names: (N,) names of the images.
        labels: int64 (N,), places in `classes`.
        content_hashes: (N,) equal for copies of one image.
        classes: names, for errors.
        part_of: stem of a file -> "train", "validation" or "test"; it may list more than `names`.

    Raises:
        DataError: if an image is in no list, or a class has no image in a part.
    """
    latest: dict[str, int] = {}
    for name, content in zip(names, content_hashes, strict=True):
        part = part_of.get(PurePosixPath(name).stem)
        if part is None:
            raise DataError(f"image {name!r} is in none of the published lists: use the stratified split")
        latest[content] = max(latest.get(content, 0), PARTS.index(part))
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for index, content in enumerate(content_hashes):
        parts[latest[content]].append(index)
    split = _as_split(parts)
    _check_every_part(split, labels, content_hashes, classes)
    return split


def _counts(total: int, fractions: tuple[float, float, float]) -> npt.NDArray[np.int64]:
    """Divide `total` images by the largest remainders, at least one to each part where there are three."""
    shares = np.array(fractions) * total
    counts: npt.NDArray[np.int64] = np.floor(shares).astype(np.int64)
    most_short_first = np.argsort(counts - shares, kind="stable")
    counts[most_short_first[: total - int(counts.sum())]] += 1
    while total >= len(counts) and counts.min() == 0:
        counts[np.argmin(counts)] += 1
        counts[np.argmax(counts)] -= 1
    return counts


def _as_split(parts: Sequence[list[int]]) -> Split:
    train, validation, test = (np.array(sorted(part), dtype=np.int64) for part in parts)
    return Split(train=train, validation=validation, test=test)


def _check_every_part(
    split: Split, labels: npt.NDArray[np.int64], content_hashes: Sequence[str], classes: Sequence[str]
) -> None:
    for part in PARTS:
        here = np.bincount(labels[split.of(part)], minlength=len(classes))
        if (here == 0).any():
            missing = int(np.argmin(here))
            own = np.flatnonzero(labels == missing).tolist()
            different = len({content_hashes[index] for index in own})
            raise DataError(
                f"class {classes[missing]!r} has no image for {part}: it has {len(own)} images,"
                f" {different} of them different, and every part needs one: add images"
            )
