"""Labelled scenes in, batches out: everything else in this package serves `load`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch

from nasprune.data import scenes
from nasprune.data.batches import Augmentation, Batches
from nasprune.data.catalog import CATALOG, Catalogued, check_classes
from nasprune.data.download import download, published_parts
from nasprune.data.readers import EncodedImage, list_scenes, read_listed, read_scenes
from nasprune.data.splits import Split, check_fractions, published_split, stratified_split
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import MappedImages, Store, is_packed, open_store, pack
from nasprune.errors import DataError, SettingsError

__all__ = [
    "CATALOG",
    "DATASETS",
    "Augmentation",
    "Batches",
    "DataSettings",
    "EncodedImage",
    "MappedImages",
    "Part",
    "SceneData",
    "Split",
    "Statistics",
    "Store",
    "load",
    "measure",
    "open_store",
    "pack",
    "published_split",
    "read_scenes",
    "stratified_split",
]

Part = Literal["train", "validation", "test"]
DATASETS = ("scenes", "folder", *sorted(CATALOG))  # what `DataSettings.dataset` may be
_DRAWN_SEED = 0  # of the generated scenes: the data set stays itself when a study's seed changes


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, at what size, split how."""

    dataset: str = (
        "scenes"  # "scenes" are generated, "folder" is any <class>/<image>, others are in the catalog
    )
    data: Path | None = None  # a folder or zip; None generates scenes, or downloads a data set of the catalog
    image_size: int = 48  # side in pixels, 16 to 1024
    fractions: tuple[float, float, float] = (
        0.7,
        0.1,
        0.2,
    )  # train, validation, test; of the stratified split
    split: str = "stratified"  # or "published", for data sets of the catalog
    seed: int = 0  # of the stratified split
    scenes_per_class: int = 100  # of the generated scenes, at least 3

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise SettingsError(f"data set {self.dataset!r}: give one of {', '.join(DATASETS)}")
        if self.dataset == "folder" and self.data is None:
            raise SettingsError("data set 'folder': give the folder or zip of <class>/<image> with --data")
        if self.dataset == "scenes" and self.data is not None:
            raise SettingsError(
                f"data set 'scenes' is generated: to use {self.data}, give --dataset folder or its name"
            )
        if not 16 <= self.image_size <= 1024:
            raise SettingsError(f"image size {self.image_size}: give 16 to 1024 pixels")
        check_fractions(self.fractions)
        if self.split not in {"stratified", "published"}:
            raise SettingsError(f"split {self.split!r}: give stratified or published")
        if self.split == "published" and self.dataset not in CATALOG:
            raise SettingsError(
                f"data set {self.dataset!r} has no published split: use the stratified split, or one of"
                f" {', '.join(sorted(CATALOG))}"
            )
        if self.split == "published" and self.fractions != _default("fractions"):
            raise SettingsError("split fractions do not apply to a published split: leave them out")
        if self.seed < 0:
            raise SettingsError(f"seed {self.seed}: give 0 or more")
        if self.scenes_per_class < 3:
            raise SettingsError(
                f"scenes per class {self.scenes_per_class}: give at least 3, one for each part"
            )
        if self.dataset != "scenes" and self.scenes_per_class != _default("scenes_per_class"):
            raise SettingsError(f"scenes per class do not apply to data set {self.dataset!r}: leave them out")


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneData:
    """A data set ready to train on."""

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
        indices = {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}[
            part
        ]
        return Batches(
            self.images,
            self.store.labels,
            indices,
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
    store = (
        _drawn(settings, directory) if settings.dataset == "scenes" else _given(settings, known, directory)
    )
    if known is not None and settings.split == "published":
        split = published_split(
            store.names,
            store.labels,
            store.content_hashes,
            store.classes,
            part_of=published_parts(known, settings.data, directory / "downloads"),
        )
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
        dataset=settings.dataset,
        store=store,
        images=images,
        split=split,
        statistics=measure(images, split.train),
        image_size=settings.image_size,
    )


def _drawn(settings: DataSettings, directory: Path) -> Store:
    def draw(images_per_class: int) -> Iterator[EncodedImage]:
        return scenes.generate(
            images_per_class=images_per_class, image_size=settings.image_size, seed=_DRAWN_SEED
        )

    # One scene of each class stands for the generator: where its drawing changes, the set is packed anew.
    digest = hashlib.sha256(f"{settings.scenes_per_class} {settings.image_size} {_DRAWN_SEED}".encode())
    for scene in draw(1):
        digest.update(scene.encoded)
    return pack("scenes", draw(settings.scenes_per_class), directory / f"scenes-{digest.hexdigest()[:12]}")


def _given(settings: DataSettings, known: Catalogued | None, directory: Path) -> Store:
    if settings.data is not None:
        listing = list_scenes(settings.data)
        if known is not None:
            check_classes(known, listing.counts)
        return pack(
            settings.dataset, read_listed(listing), directory / f"{settings.dataset}-{listing.fingerprint}"
        )
    if known is None:
        raise DataError(f"data set {settings.dataset!r} needs --data")  # excluded by the settings
    packed = directory / f"{known.name}-{known.archive.sha256[:12]}"
    if is_packed(packed):  # the archive may be gone by now
        return open_store(packed)
    listing = list_scenes(download(known, directory / "downloads"))
    check_classes(known, listing.counts)
    return pack(known.name, read_listed(listing), packed)


def _default(name: str) -> object:
    return next(field.default for field in fields(DataSettings) if field.name == name)
