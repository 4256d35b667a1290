"""From settings to a data set that is ready to train on."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nasprune.data import scenes
from nasprune.data.batches import Augmentation, Batches
from nasprune.data.catalog import CATALOG, Catalogued, check_classes
from nasprune.data.download import download
from nasprune.data.mapped import MappedImages
from nasprune.data.published import published_parts
from nasprune.data.readers import EncodedImage, list_scenes, read_listed
from nasprune.data.settings import DataSettings
from nasprune.data.splits import Part, Split, published_split, stratified_split
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import Store, is_packed, open_store, pack
from nasprune.files import locked, write_json

_DOWNLOADS = "downloads"
_DRAWN_SEED = 0  # of the generated scenes: the data set stays itself when a study's seed changes


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneData:
    """A data set ready to train on."""

    settings: DataSettings
    dataset: str
    store: Store
    images: MappedImages
    split: Split
    statistics: Statistics  # of the training part alone
    image_size: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; a label is a place among them."""
        return self.store.classes

    def batches(
        self,
        part: Part,
        *,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> Batches:
        """Serve one part of the split; see `Batches`.

        Raises:
            SettingsError: if the batch size is below 1.
        """
        return Batches(
            self.images,
            self.store.labels,
            self.split.of(part),
            batch_size=batch_size,
            statistics=self.statistics,
            device=device,
            augmentation=augmentation,
            seed=seed,
        )


def load(settings: DataSettings, directory: Path) -> SceneData:
    """Make a data set ready, packing it on first use.

    Args:
        settings: which one, and how.
        directory: folder of all packed data sets and downloads; processes may share it.

    Raises:
        DataError: if the data set cannot be found, fetched, read, packed or split.
    """
    known = CATALOG.get(settings.dataset)
    if settings.data is not None:
        store = _given(settings.dataset, settings.data, known, directory)
    elif known is not None:
        store = _fetched(known, directory)
    else:
        store = _drawn(settings, directory)
    if known is not None and settings.split == "published":
        part_of = published_parts(known, settings.data, directory / _DOWNLOADS)
        split = published_split(store.names, store.labels, store.content_hashes, store.classes, part_of=part_of)
    else:
        split = stratified_split(
            store.labels,
            store.content_hashes,
            store.classes,
            fractions=settings.fractions,
            seed=settings.seed,
        )
    images = store.images(settings.image_size)
    return SceneData(
        settings=settings,
        dataset=settings.name,
        store=store,
        images=images,
        split=split,
        statistics=_statistics(store, images, split),
        image_size=settings.image_size,
    )


def _statistics(store: Store, images: MappedImages, split: Split) -> Statistics:
    """Mean and deviation of the training images, measured once and kept beside them."""
    digest = hashlib.sha256(split.train.tobytes()).hexdigest()[:12]
    path = store.directory / f"statistics-{images.image_size}-{digest}.json"
    with locked(path):
        if not path.exists():
            write_json(path, asdict(measure(images, split.train)))
    kept = json.loads(path.read_text())
    return Statistics(mean=tuple(kept["mean"]), deviation=tuple(kept["deviation"]))


def _given(dataset: str, data: Path, known: Catalogued | None, directory: Path) -> Store:
    listing = list_scenes(data)
    if known is not None:
        check_classes(known, listing.counts)
    return pack(dataset, read_listed(listing), directory / f"{dataset}-{listing.fingerprint}")


def _fetched(known: Catalogued, directory: Path) -> Store:
    packed = directory / f"{known.name}-{known.archive.sha256[:12]}"
    if is_packed(packed):  # the archive may be gone by now
        return open_store(packed)
    listing = list_scenes(download(known, directory / _DOWNLOADS))
    check_classes(known, listing.counts)
    return pack(known.name, read_listed(listing), packed)


def _drawn(settings: DataSettings, directory: Path) -> Store:
    def draw(images_per_class: int) -> Iterator[EncodedImage]:
        return scenes.generate(images_per_class=images_per_class, image_size=settings.image_size, seed=_DRAWN_SEED)

    # One scene of each class stands for the generator: where its drawing changes, the set is packed anew.
    digest = hashlib.sha256(f"{settings.scenes_per_class} {settings.image_size} {_DRAWN_SEED}".encode())
    for scene in draw(1):
        digest.update(scene.encoded)
    return pack("scenes", draw(settings.scenes_per_class), directory / f"scenes-{digest.hexdigest()[:12]}")
