"""What all trials of a study share, by the names it has in the storage. It travels to workers: it imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DENSE = "shared/dense"
"""Folder of all dense networks in a storage."""

ANSWERS = "shared/answers"
"""Folder of what they said."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A packed data set, by what every node knows it by.

    Attributes:
        name: Of its folder.
        data_hash: Of its images.
    """

    name: str
    data_hash: str


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What every trial stands on, by the names it has in the storage.

    Attributes:
        dense: The dense network's folder.
        answers: The file of what it said of the training images.
        images: The packed images.
        versions: What the driver runs, see `sweep.cluster.preflight.versions`.
    """

    dense: str
    answers: str
    images: Packed
    versions: Mapping[str, str]
