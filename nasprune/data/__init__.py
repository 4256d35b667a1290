"""Labelled scenes in, batches out."""

from dataclasses import dataclass
from pathlib import Path

import torch


from nasprune.data.batches import Augmentation, Batches
from nasprune.data.readers import EncodedImage, list_scenes, read_listed, read_scenes
from nasprune.data.splits import PARTS, Split, check_fractions, stratified_split
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import MappedImages, Store, open_store, pack
from nasprune.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, at which size, split how."""

    dataset: str = "scenes"
    data: Path | None = None
    image_size: int = 48
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split: str = "stratified"
    seed: int = 0
    scenes_per_class: int = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneData:
    """A data set ready to train on."""

    dataset: str
    store: Store
    images: MappedImages
    split: Split
    statistics: Statistics
    image_size: int

    @property
    def classes(self) -> tuple[str, ...]:
        return self.store.classes

    def batches(self, part: str, *, batch_size: int, device: torch.device, augmentation: Augmentation | None = None, seed: int = 0) -> Batches:
        return Batches(self.images, self.store.labels, getattr(self.split, part), batch_size=batch_size, statistics=self.statistics, device=device, augmentation=augmentation, seed=seed)


def load(settings: DataSettings, directory: Path) -> SceneData:
    assert settings.data is not None
    listing = list_scenes(settings.data)
    store = pack(settings.dataset, read_listed(listing), directory / f"{settings.dataset}-{listing.fingerprint}")
    images = store.images(settings.image_size)
    split = stratified_split(store.labels, store.content_hashes, store.classes, fractions=settings.fractions, seed=settings.seed)
    return SceneData(dataset=settings.dataset, store=store, images=images, split=split, statistics=measure(images, split.train), image_size=settings.image_size)
