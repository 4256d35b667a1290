"""Mean and deviation of each colour over the training images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasprune.data.mapped import MappedImages
from nasprune.errors import DataError

_CHUNK_PIXELS = 1 << 20  # pixels held at once


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Per colour (red, green, blue), of pixels in [0, 1]."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


def measure(images: MappedImages, indices: npt.NDArray[np.int64]) -> Statistics:
    """Measure the images at `indices`, one chunk in memory at a time.

    Args:
        images: N images.
        indices: int64 (B,), usually the training part: statistics of other images would tell of them.

    Returns:
        Mean and population deviation. A colour that never varies gets deviation 1: it normalises to 0.

    Raises:
        DataError: if there are no indices.
    """
    if len(indices) == 0:
        raise DataError("no image to measure mean and deviation on: the training part is empty")
    # Sums of whole numbers are exact: the result does not depend on the order or on the chunks.
    total = np.zeros(3, dtype=np.uint64)
    squares = np.zeros(3, dtype=np.uint64)
    step = max(1, _CHUNK_PIXELS // images.image_size**2)
    for start in range(0, len(indices), step):
        pixels = images.gather(indices[start : start + step]).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
        for colour in range(3):
            counts = np.bincount(pixels[:, colour], minlength=256).astype(np.uint64)
            values = np.arange(256, dtype=np.uint64)
            total[colour] += (counts * values).sum()
            squares[colour] += (counts * values**2).sum()
    count = len(indices) * images.image_size**2
    mean = total.astype(np.float64) / count
    deviation = np.sqrt(np.maximum(squares.astype(np.float64) / count - mean**2, 0.0)) / 255
    mean /= 255
    deviation[deviation < 1e-6] = 1.0
    return Statistics(
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        deviation=(float(deviation[0]), float(deviation[1]), float(deviation[2])),
    )
