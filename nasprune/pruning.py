"""From the dense network and a budget to a finished, evaluated, smaller network."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nasprune.artifact import Artifact, network_settings
from nasprune.cost import macs_cost
from nasprune.data.batches import Augmentation
from nasprune.errors import NetworkError
from nasprune.networks import count_parameters, couple
from nasprune.scores import check_budget, cut_at_budget
from nasprune.search import SearchSettings, search
from nasprune.surgery import derive
from nasprune.training import TrainingSettings, evaluate, fit, recalibrate

if TYPE_CHECKING:
    from torch import nn

    from nasprune.compute import Compute
    from nasprune.data import SceneData
    from nasprune.progress import Session


@dataclass(frozen=True, kw_only=True)
class PruneSettings:
    """How one budget is reached.

    Attributes:
        search: The search; with 0 epochs a plain criterion.
        tuning: Of the derived network, with distillation from the dense one.
        batch_size: Images a step, in search and tuning.
        augmentation: Of training images.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    tuning: TrainingSettings = field(default_factory=lambda: TrainingSettings(epochs=16, learning_rate=0.03))
    batch_size: int = 64
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A derived, tuned, evaluated network.

    Attributes:
        network: On the compute's device, in evaluation mode.
        widths: Channels each group kept.
        macs: Multiply-adds of one image.
        macs_ratio: Share of the dense network's.
        params: Trainable numbers.
        recalibrated_val_accuracy: Validation accuracy right after the cut, batch norm re-calibrated, in 0..1.
        val_accuracy: After tuning, in 0..1.
        test_accuracy: The same on the test images; nothing was chosen by it.
        seconds: What this process spent on it.
    """

    network: nn.Module
    widths: dict[str, int]
    macs: int
    macs_ratio: float
    params: int
    recalibrated_val_accuracy: float
    val_accuracy: float
    test_accuracy: float
    seconds: float

    def measures(self) -> dict[str, Any]:
        """All but the network, as JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "network"}


def prune(
    dense: Artifact,
    data: SceneData,
    budget: float,
    settings: PruneSettings,
    compute: Compute,
    *,
    seed: int,
    session: Session,
) -> Pruned:
    """Search, cut, re-calibrate, tune and evaluate for one budget.

    Args:
        dense: The trained dense network; left as it is.
        data: The data set it was trained on. Only training images train or choose; validation and test
            images are measured.
        budget: Wanted share of the dense MACs, in (0, 1].
        settings: See there.
        compute: Device and precision.
        seed: Of batches, dropout and a random criterion.
        session: Reports and checkpoints, phases "search" and "tune".

    Raises:
        SettingsError: if the budget cannot be reached.
    """
    start = time.monotonic()
    teacher = compute.place(copy.deepcopy(dense.network)).eval()
    network = copy.deepcopy(teacher)
    coupling = couple(network, network_settings(dense.record))
    cost = macs_cost(coupling)
    check_budget(budget, cost)
    cost = cost.to(compute.device)
    loading: dict[str, Any] = {"batch_size": settings.batch_size, "device": compute.device}
    train = data.batches("train", augmentation=settings.augmentation, seed=seed, **loading)
    validation = data.batches("validation", **loading)
    scores = search(
        network, teacher, coupling, cost, train, budget, settings.search, compute, seed=seed, session=session
    )
    cut = cut_at_budget(scores, coupling.group_of.to(compute.device), cost, budget)
    derived = compute.place(derive(network, coupling, cut.kept))
    recalibrate(derived, train, compute)
    recalibrated = evaluate(derived, validation)
    fit(
        derived, train, settings.tuning, compute,
        phase="tune", seed=seed, session=session, teacher=teacher,
    )  # fmt: skip
    macs = macs_cost(couple(derived, network_settings(dense.record))).dense
    if macs != round(float(cut.macs)):
        raise NetworkError(
            f"the cut network has {macs} MACs where {float(cut.macs):.0f} were predicted; please report this"
        )
    return Pruned(
        network=derived,
        widths=coupling.widths(cut.kept),
        macs=macs,
        macs_ratio=macs / cost.dense,
        params=count_parameters(derived),
        recalibrated_val_accuracy=recalibrated,
        val_accuracy=evaluate(derived, validation),
        test_accuracy=evaluate(derived, data.batches("test", **loading)),
        seconds=time.monotonic() - start,
    )
