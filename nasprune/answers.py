"""What the dense network says of each training image: asked once, and shared by all that it teaches.

Small students need hundreds of epochs, and a teacher asked in each would be most of the work. What it says of one
augmented view is also partly chance, of where the view was cut and how bright it is; the mean over a few views is what
it says of the scene.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from nasprune.copying import copy_of
from nasprune.errors import ArtifactError
from nasprune.files import locked, write_bytes
from nasprune.lessons import ask
from nasprune.progress import Progress
from nasprune.session import Session, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from nasprune.artifact import Artifact
    from nasprune.compute import Compute
    from nasprune.data import SceneData
    from nasprune.descent import DescentSettings
    from nasprune.lessons import KnownBatches

PHASE = "ask"


def answers_name(dense: str, settings: DescentSettings) -> str:
    """The file name under which answers are shared.

    Args:
        dense: The dense network's key, which stands for the images, too; see `nasprune.dense.dense_key`.
        settings: Of these augmentation, views and batch size matter.
    """
    content = {
        "dense": dense,
        "augmentation": dataclasses.asdict(settings.augmentation),
        "views": settings.views,
        "batch_size": settings.batch_size,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16] + ".safetensors"


def obtain_answers(
    directory: Path,
    dense: Artifact,
    data: SceneData,
    settings: DescentSettings,
    compute: Compute,
    report: Callable[[Progress], None] = lambda _: None,
    kept: Callable[[Path], None] = lambda _: None,
) -> torch.Tensor:
    """The dense network's answers from `directory`, asked for first if they are not there yet.

    Processes that ask at once wait for one of them; one that was stopped goes on with the view it was at. `report`,
    called after each view, and `kept` are those of its `Session`.

    Returns:
        float32 (training images, classes), on the device that computes.

    Raises:
        ArtifactError: if they are damaged.
        DataError: if the folder cannot be written.
    """
    path = directory / answers_name(dense.directory.name, settings)
    with locked(path):
        if not path.exists():
            checkpoints = checkpoints_of(path)
            batches = data.batches(
                "train", batch_size=settings.batch_size, device=compute.device, augmentation=settings.augmentation,
                seed=int(dense.record["settings"]["seed"]), drop_last=False,
            )  # fmt: skip
            session = Session(checkpoints, report, identity=path.stem, kept=kept)
            teacher = compute.place(copy_of(dense.network))
            classes, views = len(data.classes), settings.views
            answers = mean_answers(teacher, batches, compute, classes=classes, views=views, session=session)
            write_bytes(path, save({"answers": answers.cpu()}))
            shutil.rmtree(checkpoints, ignore_errors=True)
    return read_answers(path, compute.device)


def checkpoints_of(path: Path) -> Path:
    """Where checkpoints are while the file is not there."""
    return path.with_suffix(".checkpoints")


def read_answers(path: Path, device: torch.device) -> torch.Tensor:
    """What `obtain_answers` has written, on a device.

    Raises:
        ArtifactError: if they are missing or damaged.
    """
    try:
        # Copied: what is loaded maps the file, and whoever writes over that would kill this process by SIGBUS.
        return load_file(path)["answers"].to(device, copy=True)
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"the dense network's answers in {path} are missing or damaged ({error}); delete that file and give the "
            "same command again"
        ) from error


def mean_answers(
    teacher: nn.Module, batches: KnownBatches, compute: Compute, *, classes: int, views: int, session: Session
) -> torch.Tensor:
    """Mean logits (images, classes) of a teacher over the views that the first `views` epochs show of each image.

    Args:
        teacher: On the device that computes.
        batches: Whose epochs show every image once.
        compute: Device and precision.
        classes: How many logits there are.
        views: How many epochs are shown, at least 1.
        session: Reports and keeps each, as an epoch of the phase "ask".
    """
    total = torch.zeros(batches.images_count, classes, device=compute.device)

    def hear(view: int) -> dict[str, float]:
        said = torch.cat([ask(teacher, images, compute) for images, _ in batches.epoch(view)])
        total.index_add_(0, batches.order(view).to(said.device), said)
        return {}

    session.run(PHASE, views, hear, State(tensors={"total": total}))
    return total / views
