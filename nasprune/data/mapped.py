"""Decoded images of one size in a memory-mapped Arrow file: many processes share one copy, none holds it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from nasprune.data.bands import RGB, Pixels
from nasprune.data.decode import decode
from nasprune.errors import DataError
from nasprune.files import reason

# Bytes of one record batch: what a writer holds at once. Few large ones keep `gather` quick.
_BATCH_BYTES = 1 << 25
_AHEAD = 4  # inputs for each core
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class MappedImages:
    """Images of one size, read from a memory-mapped file; safe to share between threads.

    Attributes:
        image_size: side of the images in pixels.
        bands: how many each has.
        bit_depth: 8 or 16: of the values, which go from 0 to 2^bit_depth - 1.
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
            kind = column.type
            if not _is_kind(kind, image_size):
                raise pa.ArrowInvalid(f"images of kind {kind}")
        except (OSError, KeyError, pa.ArrowException) as error:
            raise DataError(
                f"{path} is no whole file of images ({reason(error)}): remove it, it is made again"
            ) from error
        self.bands = int(kind.shape[2])
        self.bit_depth = int(kind.value_type.bit_width)
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
            uint8 or uint16 (B, bands, S, S) in channels-last memory format.

        Raises:
            IndexError: if an index is outside the images.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self._length):
            raise IndexError(f"images {wanted.min()} to {wanted.max()} asked of {self._length}")
        kind = torch.uint8 if self.bit_depth == 8 else torch.uint16
        shape = (len(wanted), self.image_size, self.image_size, self.bands)
        out = torch.empty(shape, dtype=kind, pin_memory=pinned)
        target = out.numpy()
        batch, row = np.divmod(wanted, self._rows)
        for number in np.unique(batch):
            here = np.flatnonzero(batch == number)
            target[here] = self._views[number][row[here]]
        return out.permute(0, 3, 1, 2)


def write_mapped(path: Path, encoded: Iterable[tuple[str, bytes]], image_size: int, bands: str = RGB) -> None:
    """Decode images on all cores and write them to `path`, one record batch in memory at a time.

    Args:
        path: the file to write.
        encoded: (name, file content) of every image, in order.
        image_size: side in pixels to resize to.
        bands: see `decode`.

    Raises:
        DataError: if an image cannot be decoded, or has other bands than the first.
        OSError: if the file cannot be written.
    """
    images = in_threads(lambda image: (image[0], decode(*image, image_size, bands=bands)), encoded)
    first = next(images)
    kind = _kind(first[1])
    rows = max(1, _BATCH_BYTES // first[1].nbytes)
    schema = pa.schema([pa.field("image", kind, nullable=False)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        alike = chain([first], (_alike(image, first) for image in images))
        while portion := list(islice(alike, rows)):
            column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack([pixels for _, pixels in portion]))
            writer.write_batch(pa.record_batch([column.cast(kind)], schema=schema))


def _alike(image: tuple[str, Pixels], first: tuple[str, Pixels]) -> tuple[str, Pixels]:
    """Return `image`; its file may well be readable and yet not be of the camera that the first one is of."""
    if image[1].shape != first[1].shape or image[1].dtype != first[1].dtype:
        had, expected = (f"{pixels.shape[2]} bands of {pixels.dtype}" for _, pixels in (image, first))
        raise DataError(
            f"image {image[0]!r} has {had}, {first[0]!r} has {expected}: a data set's images have the same; name "
            "bands that all have with --bands, or remove one kind"
        )
    return image


def in_threads(work: Callable[[_Given], _Made], given: Iterable[_Given]) -> Iterator[_Made]:
    """Apply `work` on all cores, in order, with a few inputs for each in memory: they may be large.

    `Executor.map` alone would read all of `given` into memory first. Pillow works outside Python's lock.
    """
    cores = _cores()
    ahead: deque[Future[_Made]] = deque()
    with ThreadPoolExecutor(max_workers=cores, thread_name_prefix="decode") as threads:
        for each in given:
            ahead.append(threads.submit(work, each))
            if len(ahead) > _AHEAD * cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _kind(pixels: Pixels) -> pa.DataType:
    return pa.fixed_shape_tensor(pa.from_numpy_dtype(pixels.dtype), pixels.shape)


def _is_kind(kind: pa.DataType, image_size: int) -> bool:
    return (
        isinstance(kind, pa.FixedShapeTensorType)
        and kind.value_type in (pa.uint8(), pa.uint16())
        and len(kind.shape) == 3
        and tuple(kind.shape[:2]) == (image_size, image_size)
    )
