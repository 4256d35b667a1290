"""From settings to a data set that is ready to train on."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nasprune.catalog import CATALOG, Catalogued, check_classes
from nasprune.data import scenes
from nasprune.data.augment import Augmentation
from nasprune.data.bands import RGB
from nasprune.data.batches import Batches
from nasprune.data.download import download
from nasprune.data.mapped import MappedImages
from nasprune.data.published import published_parts
from nasprune.data.readers import EncodedImage, list_scenes, read_listed
from nasprune.data.settings import DataSettings
from nasprune.data.splits import Part, Split, published_split, stratified_split
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import Store, is_packed, open_store, pack, packed_folder
from nasprune.errors import DataError
from nasprune.files import locked, reason, write_json

_DOWNLOADS = "downloads"
_PARTS = "published.json"  # the published split, beside the images it belongs to
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

    @property
    def bands(self) -> int:
        """How many each image has."""
        return self.images.bands

    def batches(
        self,
        part: Part,
        *,
        batch_size: int,
        device: torch.device,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        drop_last: bool = True,
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
            colours=self.settings.bands == RGB,
            drop_last=drop_last,
        )

    def pixels(self, part: Part, *, batch_size: int) -> Batches:
        """Serve one part as exported files take it: in [0, 1], not augmented, not normalised, on the CPU."""
        raw = Statistics.none(self.bands)
        indices, device = self.split.of(part), torch.device("cpu")
        return Batches(self.images, self.store.labels, indices, batch_size=batch_size, statistics=raw, device=device)


def load(settings: DataSettings, directory: Path, *, seek: Callable[[Path], None] = lambda packed: None) -> SceneData:
    """Make a data set ready, packing it on first use.

    Args:
        settings: which one, and how.
        directory: folder of all packed data sets and downloads; processes may share it.
        seek: called with the folder of the packed data set before it is looked at; may fill it from elsewhere.

    Raises:
        DataError: if the data set cannot be found, fetched, read, packed or split.
    """
    known = CATALOG.get(settings.dataset)
    if settings.data is not None:
        store = _given(settings, settings.data, known, directory, seek)
    elif known is not None:
        store = _fetched(settings, known, directory, seek)
    else:
        store = _drawn(settings, directory, seek)
    if known is not None and settings.split == "published":
        parts = published_parts(known, settings.data, directory / _DOWNLOADS)
        path = store.directory / _PARTS
        if not path.exists() or _kept_parts(path) != parts:
            with locked(path):
                write_json(path, parts)
    return _ready(settings, store)


def load_packed(settings: DataSettings, packed: Path) -> SceneData:
    """Make a data set ready that `load` has packed before, here or on another machine; needs nothing but its folder.

    Args:
        settings: those it was packed with; splits and sizes may differ.
        packed: its folder: `SceneData.store.directory`.

    Raises:
        DataError: if it is not there, damaged, or cannot be split.
    """
    return _ready(settings, open_store(packed))


def _ready(settings: DataSettings, store: Store) -> SceneData:
    if settings.dataset in CATALOG and settings.split == "published":
        part_of = _kept_parts(store.directory / _PARTS)
        split = published_split(store.names, store.labels, store.content_hashes, store.classes, part_of=part_of)
    else:
        split = stratified_split(
            store.labels,
            store.content_hashes,
            store.classes,
            fractions=settings.fractions,
            seed=settings.seed,
        )
    images = store.images(settings.image_size, settings.bands)
    return SceneData(
        settings=settings,
        dataset=settings.name,
        store=store,
        images=images,
        split=split,
        statistics=_statistics(settings, store, images, split),
        image_size=settings.image_size,
    )


def _statistics(settings: DataSettings, store: Store, images: MappedImages, split: Split) -> Statistics:
    """Mean and deviation of the training images, measured once and kept beside them."""
    digest = hashlib.sha256(split.train.tobytes()).hexdigest()[:12]
    path = store.directory / f"statistics-{images.image_size}-{settings.bands.replace(',', '-')}-{digest}.json"
    if not path.exists():  # and nothing is written where others have packed all, and one may only read
        with locked(path):
            if not path.exists():
                write_json(path, asdict(measure(images, split.train)))
    kept = json.loads(path.read_text())
    return Statistics(mean=tuple(kept["mean"]), deviation=tuple(kept["deviation"]))


def _kept_parts(path: Path) -> dict[str, Part]:
    try:
        kept: dict[str, Part] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"published split {path} cannot be read ({reason(error)}): load the data set again") from error
    return kept


def _given(
    settings: DataSettings, data: Path, known: Catalogued | None, directory: Path, seek: Callable[[Path], None]
) -> Store:
    listing = list_scenes(data)
    if known is not None:
        check_classes(known, listing.counts)
    packed = packed_folder(directory, settings.dataset, listing.fingerprint)
    seek(packed)
    return pack(settings.dataset, read_listed(listing), packed, bands=settings.bands)


def _fetched(settings: DataSettings, known: Catalogued, directory: Path, seek: Callable[[Path], None]) -> Store:
    packed = packed_folder(directory, known.name, known.archive.sha256[:12])
    seek(packed)
    if is_packed(packed):  # the archive may be gone by now
        return open_store(packed)
    listing = list_scenes(download(known, directory / _DOWNLOADS))
    check_classes(known, listing.counts)
    return pack(known.name, read_listed(listing), packed, bands=settings.bands)


def _drawn(settings: DataSettings, directory: Path, seek: Callable[[Path], None]) -> Store:
    def draw(images_per_class: int) -> Iterator[EncodedImage]:
        return scenes.generate(images_per_class=images_per_class, image_size=settings.image_size, seed=_DRAWN_SEED)

    # One scene of each class stands for the generator: where its drawing changes, the set is packed anew.
    digest = hashlib.sha256(f"{settings.scenes_per_class} {settings.image_size} {_DRAWN_SEED}".encode())
    for scene in draw(1):
        digest.update(scene.encoded)
    packed = packed_folder(directory, "scenes", digest.hexdigest()[:12])
    seek(packed)
    return pack("scenes", draw(settings.scenes_per_class), packed, bands=settings.bands)
