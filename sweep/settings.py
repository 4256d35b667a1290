"""The study's settings: one frozen object, validated once, the same from flags, a file or a resumed study."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nasprune.data import DataSettings
from nasprune.data.augment import Augmentation
from nasprune.dense import DenseSettings
from nasprune.descent import DescentSettings
from nasprune.errors import SettingsError
from nasprune.files import plain
from nasprune.networks import NetworkSettings
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from nasprune.weights import IMAGENET, SCRATCH, check_published
from sweep.given import augmentation_given, search_given, search_help, shown
from sweep.space import SPACES, SearchSpace
from sweep.storage.address import check_address, is_address
from sweep.storage.bucket import open_storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nasprune.costing import CostKind
    from sweep.storage.bucket import Storage

RESERVED = ("shared", "mlflow")
"""Folders of the storage that are not studies."""


def check_name(study: str) -> None:
    """Refuse a study's name that would be no folder of its own in the storage.

    Raises:
        SettingsError: with what a name may be.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", study) or study in RESERVED:
        raise SettingsError(
            f"study name '{study}' given; expected up to 100 letters, digits, '.', '_' and '-', first a letter or a "
            f"digit, and none of {', '.join(RESERVED)}; give another --study"
        )


def _help(text: str, *, free: bool = False) -> dict[str, Any]:
    """A field's help, and whether a resumed study may change it: what says where, not what, is told by its content."""
    return {"help": text, "free": free}


_PACE = 0.5
"""An epoch at a budget b takes some b ** _PACE of the time at full width: small networks use a processor badly."""


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """Everything a study is made of. Each field is a flag and a key of the settings file."""

    dataset: str = field(
        default="scenes",
        metadata=_help("scenes (generated), ucm, nwpu, aid, eurosat, eurosat-ms, or folder (any <class>/<image>)"),
    )
    data: Path | None = field(
        default=None,
        metadata=_help("folder or zip of the images; without it a known data set is downloaded", free=True),
    )
    image_size: int = field(default=48, metadata=_help("side in pixels that images are resized to"))
    bands: str = field(
        default="",
        metadata=_help(
            "rgb (8-bit colours), all, or numbers from 1 in the order wanted, as 4,3,2, of 8 or 16 bits (default: rgb, "
            "of eurosat-ms all)"
        ),
    )
    split: str = field(default="stratified", metadata=_help("stratified (seeded) or published"))
    fractions: tuple[float, ...] = field(
        default=(0.7, 0.1, 0.2), metadata=_help("train, validation and test shares of a stratified split")
    )
    scenes_per_class: int = field(default=100, metadata=_help("images a class that scenes generates"))
    augmentation: tuple[str, ...] = field(
        default=(),
        metadata=_help(
            "augmentation of training images, comma-separated KEY=VALUE, as flips=no,transposes=no for scenes that "
            f"have an up; by default {shown(Augmentation())}"
        ),
    )
    network: str = field(
        default="resnet10",
        metadata=_help(
            "a classification network of torchvision (resnet18, resnet34, vgg16_bn, ...), resnet10, timm:NAME, or "
            "package.module:function, yours"
        ),
    )
    head: str = field(default="original", metadata=_help("original, or pooled for VGG without its linear layers"))
    weights: str = field(default="scratch", metadata=_help("scratch, imagenet, or a safetensors file"))
    budgets: tuple[float, ...] = field(
        default=(0.5, 0.25, 0.1), metadata=_help("wanted shares of the dense network's cost, comma-separated")
    )
    cost: str = field(
        default="macs", metadata=_help("what budgets are shares of: macs, params, or latency (see --latency-table)")
    )
    latency_table: Path | None = field(
        default=None,
        metadata=_help(
            "times from python -m nasprune.latency on the target machine (default: measured here)", free=True
        ),
    )
    round_to: int = field(
        default=1, metadata=_help("make widths multiples of this, but for a layer's full width; 8 suits most targets")
    )
    mode: str = field(
        default="descent",
        metadata=_help("descent (a trial visits all budgets), or target (a trial is one search for one budget)"),
    )
    trials: int = field(default=4, metadata=_help("how many trials in all", free=True))
    reduction_factor: float = field(
        default=1.0,
        metadata=_help("after each budget only the best 1/X of the descents go on; 1 stops none"),
    )
    dense_epochs: int = field(default=16, metadata=_help("epochs of the dense network"))
    search_epochs: int = field(
        default=1, metadata=_help("epochs of a search at full width; 0 uses the starting criterion alone")
    )
    tune_epochs: int = field(default=4, metadata=_help("epochs of tuning after a cut at full width"))
    growth: float = field(
        default=DescentSettings.growth,
        metadata=_help(
            "how much longer smaller networks are trained: at a budget b, epochs of tuning times (1 / b) ** growth, of "
            "search times (1 / b) ** min(1, 1.5 growth); 0 to 1"
        ),
    )
    views: int = field(
        default=DescentSettings.views,
        metadata=_help(
            "augmented views of each image that the dense network is asked about; its mean logits teach the image"
        ),
    )
    polish_epochs: int = field(
        default=0, metadata=_help("epochs of further tuning for points that end on the front; 0 for none", free=True)
    )
    dense_learning_rate: float = field(default=0.05, metadata=_help("peak learning rate of the dense network"))
    tune_learning_rate: float = field(default=0.03, metadata=_help("peak learning rate of tuning"))
    batch_size: int = field(default=64, metadata=_help("images a step"))
    search: tuple[str, ...] = field(
        default=(),
        metadata=_help(search_help()),
    )
    board: str = field(
        default="front",
        metadata=_help("which points get files for the board, measured: front, all or none", free=True),
    )
    seed: int = field(default=0, metadata=_help("of the split, initial weights, batches and exploration"))
    study: str = field(default="", metadata=_help("name; the same name resumes (default: <dataset>-<network>)"))
    storage: str = field(
        default="runs",
        metadata=_help(
            "folder, shared by all nodes, for all that studies leave; or a bucket, as s3://BUCKET/FOLDER", free=True
        ),
    )
    tracking_uri: str | None = field(
        default=None, metadata=_help("MLflow store or server (default: SQLite under the storage)", free=True)
    )
    device: str = field(default="auto", metadata=_help("auto, cpu or cuda", free=True))
    cpus_per_trial: int = field(default=1, metadata=_help("CPUs, and threads, of a trial", free=True))
    gpus_per_trial: float | None = field(
        default=None,
        metadata=_help("GPUs of a trial, may be a fraction (default: 1 where there is one)", free=True),
    )

    def __post_init__(self) -> None:
        check_address(self.storage)
        if len(self.fractions) != 3:
            raise SettingsError(f"{len(self.fractions)} fractions given; expected train, validation and test")
        object.__setattr__(self, "bands", self.data_settings().bands)
        if not self.study:
            object.__setattr__(self, "study", plain(f"{self.data_settings().name}-{self.network}"))
        check_name(self.study)
        if not self.budgets or not all(0 < budget <= 1 for budget in self.budgets):
            given = ",".join(f"{budget:g}" for budget in self.budgets)
            raise SettingsError(f"budgets '{given}' given; expected shares of the dense cost above 0 and at most 1")
        if len({f"{budget:g}" for budget in self.budgets}) != len(self.budgets):  # as points are named
            raise SettingsError(f"budgets {self.budgets} given; expected each one once")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:  # NaN is not either
                expected = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise SettingsError(f"{name.replace('_', '-')} {value} given; expected {expected}")
        if self.mode not in ("descent", "target"):
            raise SettingsError(f"mode '{self.mode}' given; expected descent or target")
        if self.mode == "target" and self.trials < len(self.budgets):
            raise SettingsError(
                f"{self.trials} trials for {len(self.budgets)} budgets given; expected at least one trial a budget, "
                "or --mode descent"
            )
        if self.mode == "target" and self.reduction_factor != 1:
            raise SettingsError(
                f"reduction-factor {self.reduction_factor:g} with mode target given; trials are stopped between "
                "budgets, so expected mode descent"
            )
        if len(self.budgets) == 1 and self.reduction_factor != 1:
            raise SettingsError(
                f"reduction-factor {self.reduction_factor:g} with one budget given; trials are stopped between "
                "budgets, so expected several"
            )
        if self.latency_table is not None and self.cost != "latency":
            raise SettingsError(f"latency-table given with cost {self.cost}; leave it out, or give --cost latency")
        if self.board not in ("front", "all", "none"):
            raise SettingsError(f"board '{self.board}' given; expected front, all or none")
        if self.device not in ("auto", "cpu", "cuda"):
            raise SettingsError(f"device '{self.device}' given; expected auto, cpu or cuda")
        if self.gpus_per_trial and not 1e-4 <= self.gpus_per_trial <= 1:  # Ray counts no smaller shares
            raise SettingsError(
                f"gpus-per-trial {self.gpus_per_trial:g} given; expected 0, or 0.0001 to 1: one GPU or a share of it"
            )
        if self.device == "cuda" and self.gpus_per_trial == 0:
            raise SettingsError("device cuda with gpus-per-trial 0 given; expected a share of a GPU, or --device cpu")
        if self.device == "cpu" and self.gpus_per_trial:
            raise SettingsError(f"device cpu with gpus-per-trial {self.gpus_per_trial:g} given; leave one of them out")
        self.data_settings()
        self.descent_settings({})
        different = 1 if self.mode == "descent" else len(self.budgets)
        if self.trials > different and not self.space().explored():
            raise SettingsError(
                f"{self.trials} trials given, but these settings of the search leave nothing to explore; expected "
                f"{different}, or more search epochs, or fewer fixed --search settings"
            )
        if self.weights not in (SCRATCH, IMAGENET) and not Path(self.weights).is_file():
            raise SettingsError(
                f"weights '{self.weights}' given; expected scratch, imagenet or a safetensors file that exists"
            )
        self.dense_settings(classes=2, bands=3)
        if self.weights == IMAGENET:
            check_published(self.network)

    @property
    def table(self) -> Path:
        """Where the study keeps its latency table."""
        return self.directory / "latency.json"

    def place(self) -> Storage:
        """Where the study is kept, as this node sees it."""
        return open_storage(self.storage)

    @property
    def root(self) -> Path:
        """The storage's folder on this node: of a bucket, this node's mirror."""
        return self.place().root

    @property
    def directory(self) -> Path:
        """The study's own folder on this node."""
        return self.root / self.study

    def resolved(self) -> StudySettings:
        """The same with absolute paths."""
        data = None if self.data is None else self.data.absolute()
        weights = self.weights if self.weights in (SCRATCH, IMAGENET) else str(Path(self.weights).absolute())
        table = None if self.latency_table is None else self.latency_table.absolute()
        storage = self.storage if is_address(self.storage) else str(Path(self.storage).absolute())
        return dataclasses.replace(self, storage=storage, data=data, weights=weights, latency_table=table)

    def data_settings(self) -> DataSettings:
        """What `nasprune.data.load` takes."""
        return DataSettings(
            dataset=self.dataset,
            data=self.data,
            image_size=self.image_size,
            bands=self.bands,
            split=self.split,
            fractions=(self.fractions[0], self.fractions[1], self.fractions[2]),
            scenes_per_class=self.scenes_per_class,
            seed=self.seed,
        )

    def dense_settings(self, classes: int, bands: int) -> DenseSettings:
        """What `nasprune.dense.obtain_dense` takes for images of so many classes and bands."""
        return DenseSettings(
            network=NetworkSettings(
                network=self.network, head=self.head, classes=classes, image_size=self.image_size, bands=bands
            ),
            training=TrainingSettings(epochs=self.dense_epochs, learning_rate=self.dense_learning_rate),
            batch_size=self.batch_size,
            augmentation=augmentation_given(self.augmentation),
            weights=self.weights,
            seed=self.seed,
        )

    @property
    def falling_budgets(self) -> tuple[float, ...]:
        """The budgets in the order of a descent."""
        return tuple(sorted(self.budgets, reverse=True))

    def budgets_of(self, config: Mapping[str, Any]) -> tuple[float, ...]:
        """The budgets that a trial of this configuration visits."""
        return (config["budget"],) if self.mode == "target" else self.falling_budgets

    def descent_settings(self, explored: dict[str, Any]) -> DescentSettings:
        """What `nasprune.scene_descent.descent_from` takes, with a trial's explored search settings.

        Those that are explored but not given have the recommended value, or what is closest to it in their range.

        Raises:
            SettingsError: if a search setting is given that makes no difference.
        """
        fixed, ranges = search_given(self.search)
        recommended = {key: range_.nearest(getattr(SearchSettings(), key)) for key, range_ in ranges.items()}
        search = SearchSettings(**{**recommended, **explored, **fixed, "epochs": self.search_epochs})
        for key in () if explored else (*fixed, *ranges):  # what a trial explores was given, and looked at, before
            if key not in search.used:
                raise SettingsError(
                    f"search setting '{key}' given, but it makes no difference with learn={search.learn}, "
                    f"scale={search.scale}, distillation={search.distillation:g} and {search.epochs} search epochs; "
                    "leave it out"
                )
        return DescentSettings(
            search=search,
            tuning=TrainingSettings(epochs=self.tune_epochs, learning_rate=self.tune_learning_rate),
            growth=self.growth,
            cost=cast("CostKind", self.cost),
            round_to=self.round_to,
            views=self.views,
            batch_size=self.batch_size,
            augmentation=augmentation_given(self.augmentation),
        )

    def steps(self, budgets: Iterable[float]) -> int:
        """Epochs of a trial that visits these budgets."""
        settings = self.descent_settings({})
        return sum(sum(settings.epochs(budget)) for budget in budgets)

    def work(self) -> list[float]:
        """The work of a trial after 0, 1, 2, ... of its epochs, by the measure of time, in epochs at full width.

        In mode "target", where each trial has another budget, that of a mean one.
        """
        if self.mode == "target":
            return [float(step) for step in range(round(self.steps(self.budgets) / len(self.budgets)) + 1)]
        settings = self.descent_settings({})
        epochs = [budget**_PACE for budget in self.falling_budgets for _ in range(sum(settings.epochs(budget)))]
        return [0.0, *itertools.accumulate(epochs)]

    def space(self) -> SearchSpace:
        """What the study explores: all that makes a difference and is not fixed."""
        search = self.descent_settings({}).search
        fixed, ranges = search_given(self.search)
        space = dataclasses.replace(SPACES[search.learn], **ranges)
        return space.without({*fixed, *(set(space.explored()) - search.used)})

    def polish_settings(self) -> DescentSettings:
        """The same, to polish a point."""
        settings = self.descent_settings({})
        tuning = dataclasses.replace(settings.tuning, epochs=self.polish_epochs)
        return dataclasses.replace(settings, tuning=tuning, growth=0.0)

    def as_json(self) -> dict[str, Any]:
        """JSON values of every field but the tracking URI, which may hold a password."""
        return {
            name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name != "tracking_uri"
        }

    def identity(self) -> dict[str, Any]:
        """The part of `as_json` that decides results: what a resumed study may not change."""
        values = self.as_json()
        return {setting.name: values[setting.name] for setting in fields() if not setting.metadata["free"]}


_MOST_EPOCHS = 100_000  # each is a number in memory, of trial and display
_MOST_SEED = 2**32 - 1  # NumPy's, and small enough for torch once epochs are counted in

_RANGES: dict[str, tuple[int, float]] = {
    "trials": (1, math.inf),
    "dense_epochs": (1, _MOST_EPOCHS),
    "search_epochs": (0, _MOST_EPOCHS),
    "tune_epochs": (1, _MOST_EPOCHS),
    "polish_epochs": (0, _MOST_EPOCHS),
    "batch_size": (2, math.inf),
    "scenes_per_class": (10, math.inf),
    "cpus_per_trial": (1, math.inf),
    "reduction_factor": (1, math.inf),
    "seed": (0, _MOST_SEED),
}


def fields() -> tuple[dataclasses.Field[Any], ...]:
    """The settings' fields, each with `help` and `free` in its metadata."""
    return dataclasses.fields(StudySettings)


def settings_hash(values: dict[str, Any]) -> str:
    """A short hash of JSON values: the identity of what they describe."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
