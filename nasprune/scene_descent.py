"""The descent of a dense network that was stored, on the scenes it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasprune.artifact import Artifact, network_settings
from nasprune.descent import Descent, DescentSettings
from nasprune.lessons import AnsweredLessons
from nasprune.networks import couple

if TYPE_CHECKING:
    import torch

    from nasprune.compute import Compute
    from nasprune.data import SceneData
    from nasprune.latency import LatencyTable


def descent_from(
    dense: Artifact,
    data: SceneData,
    settings: DescentSettings,
    compute: Compute,
    *,
    answers: torch.Tensor,
    seed: int,
    table: LatencyTable | None = None,
) -> Descent:
    """A descent, with what the dense network said of the training images as its lessons.

    Args:
        dense: The trained dense network.
        data: The data set it was trained on. Only training images train or choose; validation and test images
            are measured.
        settings: See there.
        compute: Device and precision.
        answers: float32 (training images, classes), see `nasprune.answers`.
        seed: Of batches, dropout and a random criterion.
        table: Times of the dense network's layers, for budgets of latency.
    """
    loading: dict[str, Any] = {"batch_size": settings.batch_size, "device": compute.device}
    train = data.batches("train", augmentation=settings.augmentation, seed=seed, **loading)
    return Descent(
        dense=dense.network,
        coupling=couple(dense.network, network_settings(dense.record)),
        image=(data.bands, data.image_size, data.image_size),
        lessons=AnsweredLessons(train, answers),
        validation=data.batches("validation", **loading),
        test=data.batches("test", **loading),
        settings=settings,
        compute=compute,
        seed=seed,
        table=table,
    )
