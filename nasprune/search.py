"""The search: scores and weights trained together under masks, steered to a budget.

The paper's abstract fixes that a trainable score weighs every output channel, that a differentiable search
optimises the scores, that a cost-aware loss drives the network to its wanted compression, and that one global
threshold derives the result. All else is a choice of ours, named here and open to the sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from nasprune.criteria import CRITERIA, Scale, scaled
from nasprune.errors import SettingsError
from nasprune.masking import MaskedNetwork
from nasprune.progress import Session, State
from nasprune.scores import cut_at_budget, soft_mask, straight_through_mask
from nasprune.training import TrainingSettings, distillation_loss, sgd, teach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nasprune.compute import Compute
    from nasprune.cost import MacsCost
    from nasprune.coupling import Coupling
    from nasprune.data.batches import Batches


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The open choices of the search.

    Attributes:
        epochs: Passes over the training images; 0 leaves the scores at their start, which makes the plain
            criterion of `initial` the method.
        mask: "hard": 1 above the threshold, else 0, with the gradient of a sigmoid (straight-through).
            "soft": the sigmoid itself, as a direct reading of the abstract suggests; the network then meets its
            first hard mask at the cut.
        initial: Criterion from `CRITERIA` that the scores start from.
        scale: How that criterion is made comparable across groups, see `criteria.scaled`.
        data: "shared": weights and scores learn from the same batch. "halves": from disjoint halves of the
            training images in turn, as in bi-level architecture search.
        cost_weight: Weight of the cost-aware loss.
        cost_loss: "ratio": expected MACs over wanted MACs. "log": |log(expected / wanted)|, which vanishes at the
            budget and pushes from both sides.
        score_learning_rate: Of Adam on the scores.
        weight_learning_rate: Of SGD on the weights, constant.
        temperature_start: Temperature of the sigmoid at the first step.
        temperature_end: At the last; in between it falls geometrically.
        ramp: Share of the search in which the budget falls, log-linearly, from 1 to the wanted one.
        distillation: Share of the loss that comes from the dense network.
        distillation_temperature: Of both networks' logits.
    """

    epochs: int = 8
    mask: str = "hard"
    initial: str = "taylor"
    scale: Scale = "cost"
    data: str = "shared"
    cost_weight: float = 0.1
    cost_loss: str = "ratio"
    score_learning_rate: float = 0.02
    weight_learning_rate: float = 0.03
    temperature_start: float = 0.6
    temperature_end: float = 0.05
    ramp: float = 0.7
    distillation: float = 0.7
    distillation_temperature: float = 4.0

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise SettingsError(f"search {name} '{given}' given; expected one of {', '.join(allowed)}")
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                given = getattr(self, name)
                raise SettingsError(f"search {name} {given:g} given; expected {low:g} to {high:g}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "mask": ("hard", "soft"),
    "initial": tuple(CRITERIA),
    "scale": ("global", "uniform", "cost"),
    "data": ("shared", "halves"),
    "cost_loss": ("ratio", "log"),
}
_RANGES = (
    ("epochs", 0, 100_000),
    ("cost_weight", 0, 1000),
    ("score_learning_rate", 0, 10),
    ("weight_learning_rate", 0, 10),
    ("temperature_start", 1e-3, 100),
    ("temperature_end", 1e-3, 100),
    ("ramp", 0, 1),
    ("distillation", 0, 1),
    ("distillation_temperature", 0.1, 100),
)


def search(
    network: nn.Module,
    dense: nn.Module,
    coupling: Coupling,
    cost: MacsCost,
    batches: Batches,
    budget: float,
    settings: SearchSettings,
    compute: Compute,
    *,
    seed: int,
    session: Session,
) -> torch.Tensor:
    """Train scores for `budget`, and `network` with them, in place.

    Args:
        network: A copy of the dense network, on the compute's device.
        dense: The teacher.
        coupling: Of `network`.
        cost: Of `network`, on the compute's device.
        batches: Augmented training batches.
        budget: Share of the dense MACs, in (0, 1].
        settings: See there.
        compute: Device and precision.
        seed: Of the starting criterion and of dropout.
        session: Reports and checkpoints, phase "search".

    Returns:
        Scores (C,), on the compute's device.
    """
    # Kept, since a resumed run must not depend on sums that a GPU may take in another order.
    importance = session.once(
        "importance", lambda: CRITERIA[settings.initial](network, coupling, batches, compute, seed)
    ).to(compute.device)
    scores = scaled(importance, coupling, cost, settings.scale).requires_grad_()
    if settings.epochs == 0:
        return scores.detach()
    group_of = coupling.group_of.to(compute.device)
    masked = MaskedNetwork(network, coupling)
    weight_steps = sgd(network, TrainingSettings(epochs=1, learning_rate=settings.weight_learning_rate))
    score_steps = torch.optim.Adam([scores], lr=settings.score_learning_rate)
    halves = None if settings.data == "shared" else (batches.half(0), batches.half(1))
    per_epoch = len(batches) if halves is None else min(len(half) for half in halves)
    steps = settings.epochs * per_epoch

    def loss_at(share: float, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The whole loss after `share` of all steps."""
        temperature = settings.temperature_start * (settings.temperature_end / settings.temperature_start) ** share
        wanted = budget ** min(1.0, share / settings.ramp) if settings.ramp else budget
        if settings.mask == "hard":
            cut = cut_at_budget(scores, group_of, cost, wanted)
            soft = soft_mask(scores, cut.threshold, temperature)
            mask = straight_through_mask(soft, cut.kept)
        else:
            mask = soft = soft_mask(scores, 0.0, temperature)
        with compute.autocast():
            logits = masked(images, mask)
            teacher_logits = teach(dense, images)
        loss = distillation_loss(
            logits, teacher_logits, labels, settings.distillation, settings.distillation_temperature
        )
        widths = torch.zeros_like(cost.sizes).index_add(0, group_of, soft.double())
        ratio = cost(widths) / (budget * cost.dense)
        penalty = ratio if settings.cost_loss == "ratio" else ratio.log().abs()
        return loss + settings.cost_weight * penalty.float()

    def train_epoch(epoch: int) -> dict[str, float]:
        network.train()
        dense.eval()
        torch.manual_seed(seed * 100_003 + epoch)
        total = torch.zeros((), device=compute.device)
        for index, pair in enumerate(_pairs(batches, halves, epoch)):
            share = (epoch * per_epoch + index) / steps
            for batch, optimizers in zip(pair, _turns(len(pair), weight_steps, score_steps), strict=True):
                loss = loss_at(share, *batch)
                weight_steps.zero_grad(set_to_none=True)
                score_steps.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), TrainingSettings.clip)
                for optimizer in optimizers:
                    optimizer.step()
                total += loss.detach() / len(pair)
        return {"loss": float(total) / per_epoch}

    state = State(
        modules={"network": network},
        optimizers={"weights": weight_steps, "scores": score_steps},
        tensors={"scores": scores},
    )
    session.run("search", settings.epochs, train_epoch, state)
    network.eval()
    return scores.detach()


Batch = tuple[torch.Tensor, torch.Tensor]


def _pairs(batches: Batches, halves: tuple[Batches, Batches] | None, epoch: int) -> Iterator[tuple[Batch, ...]]:
    """One batch a step for both, or a batch for the weights and one for the scores."""
    if halves is None:
        for batch in batches.epoch(epoch):
            yield (batch,)
    else:
        yield from zip(halves[0].epoch(epoch), halves[1].epoch(epoch), strict=False)


def _turns(
    count: int, weights: torch.optim.Optimizer, scores: torch.optim.Optimizer
) -> tuple[tuple[torch.optim.Optimizer, ...], ...]:
    """Which optimisers step on each of a step's batches."""
    return ((weights, scores),) if count == 1 else ((weights,), (scores,))
