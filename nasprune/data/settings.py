"""Which images to use, and how."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

from nasprune.catalog import CATALOG
from nasprune.data.bands import RGB, check_bands
from nasprune.data.splits import check_fractions
from nasprune.errors import SettingsError
from nasprune.files import plain

DATASETS = ("scenes", "folder", *sorted(CATALOG))  # what `DataSettings.dataset` may be


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, at what size, split how."""

    dataset: str = "scenes"  # these are generated; "folder" is any <class>/<image>; others are in the catalog
    data: Path | None = None  # a folder or zip; None generates scenes, or downloads a data set of the catalog
    image_size: int = 48  # side in pixels, 16 to 1024
    bands: str = (
        ""  # "rgb" (8-bit colours), "all", or numbers in the order wanted, as "4,3,2"; by default the data set's
    )
    fractions: tuple[float, float, float] = (
        0.7,
        0.1,
        0.2,
    )  # of train, validation and test, if stratified
    split: str = "stratified"  # or "published", for data sets of the catalog
    seed: int = 0  # of the stratified split
    scenes_per_class: int = 100  # of the generated scenes, at least 3

    @property
    def name(self) -> str:
        """What results are filed under: the data set, or what the folder or zip of any images is called."""
        if self.dataset != "folder" or self.data is None:
            return self.dataset
        place = Path(os.path.abspath(self.data))  # "." and ".." have names, too  # noqa: PTH100 (resolve follows links)
        called = place.stem if place.suffix.lower() == ".zip" else place.name
        name = plain(called).strip("-._") or self.dataset
        return f"{name}-folder" if name in DATASETS and name != "folder" else name  # which may hold anything

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
        if not self.bands:
            object.__setattr__(self, "bands", CATALOG[self.dataset].bands if self.dataset in CATALOG else RGB)
        check_bands(self.bands)
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
            raise SettingsError(f"scenes per class {self.scenes_per_class}: give at least 3, one for each part")
        if self.dataset != "scenes" and self.scenes_per_class != _default("scenes_per_class"):
            raise SettingsError(f"scenes per class do not apply to data set {self.dataset!r}: leave them out")


def _default(name: str) -> object:
    return next(field.default for field in fields(DataSettings) if field.name == name)
