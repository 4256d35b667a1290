"""The images of a study on every node: packed once by the driver, fetched once a node, mapped from its own disk."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import ray

from nasprune.data import load, load_packed
from nasprune.data.store import check_contents, is_packed, open_store
from nasprune.errors import DataError
from nasprune.files import locked
from sweep.storage.bucket import Bucket
from sweep.storage.ground import Packed

if TYPE_CHECKING:
    from pathlib import Path

    from nasprune.data import SceneData
    from sweep.settings import StudySettings

FOLDER = "shared/data"
"""Of all packed data sets in a storage."""
_CHECKED = ".checked"
"""Says that a node has read its copy of a packed data set to the last byte."""


def load_images(settings: StudySettings) -> SceneData:
    """For the driver: the study's images, packed if they are not yet, and kept in the storage for all other nodes.

    Raises:
        DataError: See `nasprune.data.load`.
        ArtifactError: if the storage cannot be reached.
    """
    storage = settings.place()
    folder = storage.root / FOLDER
    if not isinstance(storage, Bucket):
        return load(settings.data_settings(), folder)

    def seek(packed: Path) -> None:
        with locked(packed):
            fetch_packed(storage, packed.name)

    data = load(settings.data_settings(), folder, seek=seek)
    name = data.store.directory.name
    there = storage.names(f"{FOLDER}/{name}")
    for path in sorted(data.store.directory.iterdir()):
        if path.name not in there and _is_shared(path.name):
            storage.store_path(path)
    return data


def images_of(data: SceneData) -> Packed:
    """What the nodes know a loaded data set by."""
    return Packed(name=data.store.directory.name, data_hash=data.store.data_hash)


def node_images(settings: StudySettings, packed: Packed) -> SceneData:
    """The study's images on this node's own disk.

    A node needs nothing else for it: not the folder or zip they were packed from, no network but the storage. From a
    bucket they are fetched, once a node, and checked to the last byte. So they are from a folder where Ray runs on
    several hosts, of which all but one would map them over the network.

    Raises:
        DataError: if they are missing there, or not those the driver packed.
    """
    storage = settings.place()
    if not isinstance(storage, Bucket):
        if not _several_hosts():
            return load_packed(settings.data_settings(), storage.root / FOLDER / packed.name)
        storage = Bucket(storage.root.as_uri())
    folder = storage.root / FOLDER / packed.name
    with locked(folder):
        fetch_packed(storage, packed.name)
    if not is_packed(folder):
        raise DataError(f"{storage} does not hold the packed data set {packed.name}; run the study again")
    data = load_packed(settings.data_settings(), folder)
    if data.store.data_hash != packed.data_hash:
        raise DataError(
            f"{folder} holds images with hash {data.store.data_hash[:12]}, those of study '{settings.study}' have "
            f"{packed.data_hash[:12]}; remove it, it is fetched again"
        )
    return data


def fetch_packed(storage: Bucket, packed: str) -> None:
    """Bring here what is not here yet of a packed data set, but for what each node makes itself.

    Raises:
        DataError: if the images are not, to the last byte, those that were packed.
    """
    folder = storage.root / FOLDER / packed
    checked = folder / _CHECKED
    for file in storage.names(f"{FOLDER}/{packed}"):
        if _is_shared(file) and not (folder / file).exists():
            checked.unlink(missing_ok=True)
            storage.fetch_file(f"{FOLDER}/{packed}/{file}")
    if is_packed(folder) and not checked.exists():  # also by one who was killed before
        try:
            check_contents(folder, open_store(folder).data_hash)
        except DataError:
            shutil.rmtree(folder)
            raise
        checked.touch()


def _is_shared(file: str) -> bool:
    """Whether a file of a packed data set is made once: its pixels are not."""
    return "/" not in file and not file.startswith((".", "pixels-")) and file.endswith((".json", ".parquet"))


def _several_hosts() -> bool:
    return len({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}) > 1  # type: ignore[no-untyped-call]
