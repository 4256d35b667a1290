"""The dense network: trained once for its settings, shared by everything that starts from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasprune.artifact import Artifact, data_record, read_artifact, write_artifact
from nasprune.compute import Compute
from nasprune.confusion import accuracy, by_name, worst_class_accuracy
from nasprune.cost import macs_cost
from nasprune.data.augment import Augmentation
from nasprune.export import check_export
from nasprune.files import locked
from nasprune.lessons import Lessons
from nasprune.networks import NetworkSettings, build, count_parameters, couple
from nasprune.progress import Progress
from nasprune.provenance import provenance
from nasprune.session import Session
from nasprune.sources import network_code
from nasprune.training import TrainingSettings, confusion, evaluate, fit
from nasprune.weights import IMAGENET, SCRATCH, load_initial_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from nasprune.data import SceneData


_EXPORTED = ("resnet", "vgg")
"""Beginnings of names of torchvision's networks that are known to export."""


@dataclass(frozen=True, kw_only=True)
class DenseSettings:
    """All that decides what the dense network becomes, besides the data.

    Attributes:
        network: Architecture.
        training: Schedule.
        batch_size: Images a step.
        augmentation: Of training images.
        weights: "scratch", "imagenet" or the path of a safetensors file.
        seed: Of initial weights, batches and dropout.
    """

    network: NetworkSettings
    training: TrainingSettings
    batch_size: int = 64
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    weights: str = SCRATCH
    seed: int = 0


def dense_key(settings: DenseSettings, data: SceneData) -> str:
    """The name under which this dense network is shared: a hash of its settings, images and split.

    Of a network that is not torchvision's its code counts, too, which may be another one by the next study.
    """
    content: dict[str, Any] = dataclasses.asdict(settings) | {
        "data": data.store.data_hash,
        "bands": data.settings.bands,
    }
    if settings.weights not in (SCRATCH, IMAGENET):
        content["weights"] = hashlib.sha256(Path(settings.weights).read_bytes()).hexdigest()
    code = network_code(settings.network.network)
    if code:
        content["code"] = code
    content["split"] = {
        part: hashlib.sha256(getattr(data.split, part).tobytes()).hexdigest()
        for part in ("train", "validation", "test")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def obtain_dense(
    directory: Path,
    settings: DenseSettings,
    data: SceneData,
    compute: Compute,
    report: Callable[[Progress], None] = lambda _: None,
    kept: Callable[[Path], None] = lambda _: None,
) -> Artifact:
    """The dense network from `directory`, trained first if it is not there yet.

    Of several processes that ask at once one trains and the others wait for it; one that was stopped goes on
    from its last checkpoint. `report` and `kept` are those of its `Session`.

    Raises:
        NetworkError: if the network cannot be pruned, or not be exported to ONNX.
        TrainingError: if its training diverges.
        DataError: if the folder cannot be written.
        ArtifactError: if what is there is damaged.
    """
    target = directory / dense_key(settings, data)
    with locked(target):
        if not target.exists():
            _train(target, settings, data, compute, report, kept)
    return read_artifact(target)


def _train(
    target: Path,
    settings: DenseSettings,
    data: SceneData,
    compute: Compute,
    report: Callable[[Progress], None],
    kept: Callable[[Path], None],
) -> None:
    store = data.store
    origin = provenance(compute, packed=store.directory.name, data_hash=store.data_hash, seed=settings.seed)
    network = build(settings.network, seed=settings.seed)
    load_initial_weights(network, settings.network.network, settings.weights)
    name = settings.network.network
    if ":" in name or not name.startswith(_EXPORTED):
        check_export(network, data.statistics, data.image_size)
    network = compute.place(network)
    loading: dict[str, Any] = {"batch_size": settings.batch_size, "device": compute.device}
    train = data.batches("train", augmentation=settings.augmentation, seed=settings.seed, **loading)
    checkpoints = target.with_name(f"{target.name}.checkpoints")
    session = Session(checkpoints, report, identity=target.name, kept=kept)
    fit(
        network, Lessons(train), settings.training, compute,
        phase="dense", seed=settings.seed, session=session,
    )  # fmt: skip
    coupling = couple(network, settings.network)
    macs = macs_cost(coupling).full
    tested = confusion(network, data.batches("test", **loading))
    named = by_name(tested, data.classes)
    record = {
        "point": "dense",
        "network": settings.network.network,
        "head": settings.network.head,
        "dataset": data.dataset,
        "classes": list(data.classes),
        "image_size": settings.network.image_size,
        "bands": data.bands,
        "bit_depth": data.images.bit_depth,
        "statistics": dataclasses.asdict(data.statistics),
        "val_images": len(data.split.validation),
        "budget": 1.0,
        "macs": macs,
        "macs_ratio": 1.0,
        "params": count_parameters(network),
        "val_accuracy": evaluate(network, data.batches("validation", **loading)),
        "test_accuracy": accuracy(tested),
        "test_confusion": named,
        "worst_class_test_accuracy": worst_class_accuracy(named),
        "widths": {group.name: group.size for group in coupling.groups},
        "settings": dataclasses.asdict(settings),
        "data": data_record(data.settings),
        "provenance": origin,
    }
    write_artifact(target, network, record)
    shutil.rmtree(checkpoints, ignore_errors=True)
