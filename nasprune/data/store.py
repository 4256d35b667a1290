"""The packed data set: one Parquet file of encoded images, and a mapped file of pixels for each size used."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nasprune.data.bands import RGB
from nasprune.data.decode import decode
from nasprune.data.mapped import MappedImages, in_threads, write_mapped
from nasprune.data.readers import EncodedImage
from nasprune.errors import DataError
from nasprune.files import locked, reason, replacing

_FILE = "images.parquet"
_LAYOUT = "3"  # of the Parquet file; raise it when the columns change, or which images are taken, or their pixels
_PORTION, _PORTION_BYTES = 256, 1 << 25  # images, or bytes of them, that are held at once: a row group
_SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """A packed data set of N images.

    Attributes:
        directory: the folder that holds it.
        dataset: name of the data set.
        classes: names of the classes, sorted.
        names: (N,) names of the images, unique.
        labels: int64 (N,) read-only, places in `classes`.
        content_hashes: (N,) SHA-256 of each file's bytes; equal for copies of one image.
        data_hash: SHA-256 over all names, labels and contents: equal only for equal data.
    """

    directory: Path
    dataset: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    content_hashes: tuple[str, ...]
    data_hash: str

    def __len__(self) -> int:
        return len(self.names)

    def images(self, image_size: int, bands: str = RGB) -> MappedImages:
        """Map these bands of the images at `image_size` pixels a side, decoding them all on the first such call.

        Args:
            image_size: the side in pixels to resize to.
            bands: which, see `decode`.

        Raises:
            DataError: if the file of pixels cannot be made or is damaged.
        """
        path = self.directory / f"pixels-{image_size}-{bands.replace(',', '-')}-{self.data_hash[:12]}.arrow"
        if not path.exists():
            with locked(path):
                if not path.exists():  # another process may have made it while this one waited
                    with replacing(path) as unfinished:
                        write_mapped(unfinished, self._encoded(), image_size, bands)
        images = MappedImages(path, image_size)
        if len(images) != len(self):
            raise DataError(f"{path} has {len(images)} images, not {len(self)}: remove it, it is made again")
        return images

    def _encoded(self) -> Iterator[tuple[str, bytes]]:
        yield from _rows(self.directory / _FILE, "name", "image")


def packed_folder(directory: Path, dataset: str, digest: str) -> Path:
    """Say where below `directory` a data set is packed, of which `digest` says what it is packed from.

    One that was packed in another layout lies elsewhere, on all machines and in all buckets that still have it.
    """
    return directory / f"{dataset}-{digest}-{_LAYOUT}"


def pack(dataset: str, scenes: Iterable[EncodedImage], directory: Path, *, bands: str = RGB) -> Store:
    """Write the images into `directory` as one Parquet file, or open what is packed there already.

    Every image is decoded once, so that a broken one is met here and not in the middle of a training. The
    file appears whole or not at all; of several processes that pack at once one works and the others wait.

    Args:
        dataset: name of the data set.
        scenes: the images, whose order is kept; not touched if the directory is packed already.
        directory: folder of this one data set.
        bands: those that every image is to have, see `decode`; what is packed are the whole files.

    Raises:
        DataError: if an image is broken, a name is given twice, there are fewer than two classes, or the
            directory cannot be written.
    """
    path = directory / _FILE
    if not path.exists():
        with locked(path):
            if not path.exists():
                with replacing(path) as unfinished:
                    _write(dataset, scenes, unfinished, bands)
    return open_store(directory)


def is_packed(directory: Path) -> bool:
    """Say whether `directory` holds a packed data set of this layout, whole as every file here."""
    try:
        with pq.ParquetFile(directory / _FILE) as file:
            return _said(file).get("layout") == _LAYOUT
    except FileNotFoundError:
        return False
    except (OSError, ValueError, pa.ArrowException):
        return True  # damaged, which whoever opens it says


def check_contents(directory: Path, data_hash: str) -> None:
    """Make sure that a packed data set holds, to the last byte, the images of this hash.

    Raises:
        DataError: if it does not, or cannot be read.
    """
    digest, path = hashlib.sha256(), directory / _FILE
    for name, label, image in _rows(path, "name", "label", "image"):
        digest.update(f"{name}\0{label}\0{hashlib.sha256(image).hexdigest()}\n".encode())
    if digest.hexdigest() != data_hash:
        raise _damaged(path, f"its images have hash {digest.hexdigest()[:12]}, not {data_hash[:12]}")


def open_store(directory: Path) -> Store:
    """Open a packed data set.

    Raises:
        DataError: if there is none, or it is damaged or of another layout.
    """
    path = directory / _FILE
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=["label", "name", "content_hash"])
            said = _said(file)
    except FileNotFoundError as error:
        raise DataError(f"{directory} holds no packed data set ({_FILE} is missing): pack it first") from error
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, reason(error)) from error
    if said.get("layout") != _LAYOUT:
        raise _damaged(path, f"its layout is {said.get('layout')}, not {_LAYOUT}")
    label_of_each = table.column("label").to_pylist()
    classes = tuple(sorted(set(label_of_each)))
    place = {label: number for number, label in enumerate(classes)}
    labels = np.array([place[label] for label in label_of_each], dtype=np.int64)
    labels.flags.writeable = False
    return Store(
        directory=directory,
        dataset=said["dataset"],
        classes=classes,
        names=tuple(table.column("name").to_pylist()),
        labels=labels,
        content_hashes=tuple(table.column("content_hash").to_pylist()),
        data_hash=said["data_hash"],
    )


def _rows(path: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    """These columns of each image, with one row group in memory at a time.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                portion = file.read_row_group(number, columns=list(columns))
                yield from zip(*(portion.column(name).to_pylist() for name in columns), strict=True)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, reason(error)) from error


def _said(file: pq.ParquetFile) -> dict[str, str]:
    """What the file says of itself."""
    said: dict[str, str] = json.loads((file.metadata.metadata or {}).get(b"nasprune", b"{}"))
    return said


def _write(dataset: str, scenes: Iterable[EncodedImage], path: Path, bands: str) -> None:
    digest = hashlib.sha256()
    classes: set[str] = set()
    names: set[str] = set()
    checked = in_threads(lambda scene: _check(scene, bands), scenes)
    # The images are compressed already, TIFF apart: a light codec costs them next to nothing.
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", compression_level=1, use_dictionary=False) as writer:
        for portion in _portions(checked):
            for scene, content_hash in portion:
                if scene.name in names:
                    raise DataError(f"image {scene.name!r} is given twice: give every name once")
                names.add(scene.name)
                classes.add(scene.label)
                digest.update(f"{scene.name}\0{scene.label}\0{content_hash}\n".encode())
            columns = zip(*((s.encoded, s.label, s.name, content_hash) for s, content_hash in portion), strict=True)
            arrays = [pa.array(list(column), field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        if len(classes) < 2:
            given = f"the one class {next(iter(classes))!r}" if classes else "no image"
            raise DataError(f"the data set {dataset!r} has {given}: at least two classes are needed")
        said = {"layout": _LAYOUT, "dataset": dataset, "data_hash": digest.hexdigest()}
        writer.add_key_value_metadata({"nasprune": json.dumps(said)})


def _portions(checked: Iterable[tuple[EncodedImage, str]]) -> Iterator[list[tuple[EncodedImage, str]]]:
    portion: list[tuple[EncodedImage, str]] = []
    size = 0
    for image in checked:
        portion.append(image)
        size += len(image[0].encoded)
        if size >= _PORTION_BYTES or len(portion) == _PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _check(scene: EncodedImage, bands: str) -> tuple[EncodedImage, str]:
    decode(scene.name, scene.encoded, bands=bands)
    return scene, hashlib.sha256(scene.encoded).hexdigest()


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is no packed data set of this version ({why}): remove its folder, it is packed again")
