"""Decoded images of one size in a memory-mapped Arrow file: many processes share one copy, none holds it."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from nasprune.data.decode import decode
from nasprune.errors import DataError
from nasprune.files import reason

# Bytes of one record batch: what a writer holds at once. Few large ones keep `gather` quick.
_BATCH_BYTES = 1 << 25
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class MappedImages:
    """Images of one size, read from a memory-mapped file; safe to share between threads.

    Attributes:
        image_size: side of the images in pixels.
    """

    def __init__(self, path: Path, image_size: int) -> None:
        """Map the file at `path`.

        Raises:
            DataError: if the file is missing, damaged or of another image size.
        """
        self.image_size = image_size
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            column = table.column("image")
            if column.type != _kind(image_size):
                raise pa.ArrowInvalid(f"images of kind {column.type}")
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DataError(
                f"{path} is no whole file of images ({reason(error)}): remove it, it is made again"
            ) from error
        # Views into the map. Every batch but the last is equally long, so a division finds an image's batch.
        self._views = [chunk.to_numpy_ndarray() for chunk in column.chunks]
        self._rows = max(1, len(self._views[0])) if self._views else 1
        self._length = len(column)

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: npt.NDArray[np.int64], *, pinned: bool = False) -> torch.Tensor:
        """Copy the images at `indices`, in that order, into a fresh tensor.

        Args:
            indices: int64 (B,), each in [0, len).
            pinned: whether to place the tensor in page-locked memory, from which a GPU copies meanwhile.

        Returns:
            uint8 (B, 3, S, S) in channels-last memory format.

        Raises:
            IndexError: if an index is outside the images.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self._length):
            raise IndexError(f"images {wanted.min()} to {wanted.max()} asked of {self._length}")
        out = torch.empty((len(wanted), self.image_size, self.image_size, 3), dtype=torch.uint8, pin_memory=pinned)
        target = out.numpy()
        batch, row = np.divmod(wanted, self._rows)
        for number in np.unique(batch):
            here = np.flatnonzero(batch == number)
            target[here] = self._views[number][row[here]]
        return out.permute(0, 3, 1, 2)


def write_mapped(path: Path, encoded: Iterable[tuple[str, bytes]], image_size: int) -> None:
    """Decode images on all cores and write them to `path`, one record batch in memory at a time.

    Args:
        path: the file to write.
        encoded: (name, file content) of every image, in order.
        image_size: side in pixels to resize to.

    Raises:
        DataError: if an image cannot be decoded.
        OSError: if the file cannot be written.
    """
    kind = _kind(image_size)
    rows = max(1, _BATCH_BYTES // (image_size * image_size * 3))
    schema = pa.schema([pa.field("image", kind, nullable=False)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        images = in_threads(lambda image: decode(*image, image_size), encoded)
        while pixels := list(islice(images, rows)):
            column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(pixels))
            writer.write_batch(pa.record_batch([column.cast(kind)], schema=schema))


def in_threads(work: Callable[[_Given], _Made], given: Iterable[_Given]) -> Iterator[_Made]:
    """Apply `work` on all cores, in order, with at most a few hundred inputs in flight.

    `Executor.map` alone would read all of `given` into memory first. Pillow works outside Python's lock.
    """
    source = iter(given)
    with ThreadPoolExecutor(max_workers=_cores(), thread_name_prefix="decode") as threads:
        while portion := list(islice(source, 256)):
            yield from threads.map(work, portion)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kind(image_size: int) -> pa.DataType:
    return pa.fixed_shape_tensor(pa.uint8(), (image_size, image_size, 3))
