"""The descent of a dense network that was stored, on the scenes it was trained on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from nasprune.artifact import Artifact, network_settings
from nasprune.descent import Descent, DescentSettings
from nasprune.lessons import AnsweredOnce
from nasprune.networks import couple

if TYPE_CHECKING:
    from nasprune.compute import Compute
    from nasprune.data import SceneData
    from nasprune.latency import LatencyTable


def descent_from(
    dense: Artifact,
    data: SceneData,
    settings: DescentSettings,
    compute: Compute,
    *,
    seed: int,
    table: LatencyTable | None = None,
) -> Descent:
    """A descent, with the dense network as the teacher of its lessons.

    Args:
        dense: The trained dense network.
        data: The data set it was trained on. Only training images train or choose; validation and test images
            are measured.
        settings: See there.
        compute: Device and precision.
        seed: Of batches, dropout and a random criterion.
        table: Times of the dense network's layers, for budgets of latency.
    """
    loading: dict[str, Any] = {"batch_size": settings.batch_size, "device": compute.device}
    train = data.batches("train", augmentation=settings.augmentation, seed=seed, **loading)
    teacher = compute.place(copy.deepcopy(dense.network)).eval()
    return Descent(
        dense=dense.network,
        coupling=couple(dense.network, network_settings(dense.record)),
        image=(data.bands, data.image_size, data.image_size),
        lessons=AnsweredOnce(train, compute, teacher, views=settings.views),
        validation=data.batches("validation", **loading),
        test=data.batches("test", **loading),
        settings=settings,
        compute=compute,
        seed=seed,
        table=table,
    )
