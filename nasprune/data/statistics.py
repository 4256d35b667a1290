"""Mean and deviation of each band over the training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasprune.data.mapped import MappedImages
from nasprune.errors import DataError

_CHUNK_PIXELS = 1 << 20  # pixels held at once


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Per band (red, green, blue, where images are RGB), of values in [0, 1]."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def none(cls, bands: int) -> Statistics:
        """Those that leave values as they are."""
        return cls(mean=(0.0,) * bands, deviation=(1.0,) * bands)


def measure(images: MappedImages, indices: npt.NDArray[np.int64]) -> Statistics:
    """Measure the images at `indices`, one chunk in memory at a time.

    Args:
        images: N images.
        indices: int64 (B,), usually the training part: statistics of other images would tell of them.

    Returns:
        Mean and population deviation. A band that never varies gets deviation 1: it normalises to 0.

    Raises:
        DataError: if there are no indices.
    """
    if len(indices) == 0:
        raise DataError("no image to measure mean and deviation on: the training part is empty")
    # Sums of whole numbers are exact: the result does not depend on the order or on the chunks.
    levels = 1 << images.bit_depth
    values = np.arange(levels, dtype=np.uint64)
    total = np.zeros(images.bands, dtype=np.uint64)
    squares = np.zeros(images.bands, dtype=np.uint64)
    step = max(1, _CHUNK_PIXELS // images.image_size**2)
    for start in range(0, len(indices), step):
        pixels = images.gather(indices[start : start + step]).permute(0, 2, 3, 1).reshape(-1, images.bands).numpy()
        for band in range(images.bands):
            counts = np.bincount(pixels[:, band], minlength=levels).astype(np.uint64)
            total[band] += (counts * values).sum()
            squares[band] += (counts * values**2).sum()
    count = len(indices) * images.image_size**2
    mean = total.astype(np.float64) / count
    deviation = np.sqrt(np.maximum(squares.astype(np.float64) / count - mean**2, 0.0)) / (levels - 1)
    mean /= levels - 1
    deviation[deviation < 1e-6] = 1.0
    return Statistics(mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))
