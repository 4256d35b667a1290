"""The search: scores and weights trained together under masks, steered to a budget.

The paper's abstract fixes that a trainable score weighs every output channel, that a differentiable search
optimises the scores, that a cost-aware loss drives the network to its wanted compression, and that one global
threshold derives the result. All else is a choice of ours, named here and open to the sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nasprune.criteria import CRITERIA, Scale, Scaling
from nasprune.errors import SettingsError
from nasprune.masking import MaskedNetwork
from nasprune.ranges import check_ranges
from nasprune.score_rules import Gradient, Saliency, ScoreRule
from nasprune.scores import cut_at_budget
from nasprune.session import Session, State
from nasprune.stepping import Step
from nasprune.training import TrainingSettings, distillation_loss, one_cycle, sgd

if TYPE_CHECKING:
    from torch import nn

    from nasprune.compute import Compute
    from nasprune.cost import Cost
    from nasprune.coupling import Coupling
    from nasprune.lessons import Lessons


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The open choices of the search.

    Attributes:
        epochs: Passes over the training images; 0 leaves the scores at their start, which makes the plain
            criterion of `initial` the method.
        learn: How scores learn: "saliency", "gradient" (see `score_rules`), or "frozen" (not at all).
        initial: Criterion from `CRITERIA` that the scores start from.
        scale: How that criterion is made comparable across groups, see `criteria.Scaling`.
        cost_exponent: How strongly a channel's marginal cost counts against its importance: 1 divides by it,
            0 ignores it.
        ramp: Share of the search in which the budget falls, log-linearly, from where the network stands.
        saliency_epochs: With "saliency": epochs over which it is averaged.
        weight_learning_rate: Peak of the one-cycle schedule of SGD on the weights.
        distillation: Share of the loss that comes from the dense network.
        distillation_temperature: Of both networks' logits.
        cost_weight: With "gradient": weight of the cost-aware loss.
        score_learning_rate: With "gradient": of the scores.
        temperature_start: With "gradient": temperature of the sigmoid at the first step.
        temperature_end: At the last; in between it falls geometrically.
    """

    epochs: int = 1
    learn: str = "saliency"
    initial: str = "taylor"
    scale: Scale = "global"
    cost_exponent: float = 1.0
    ramp: float = 0.7
    saliency_epochs: float = 1.0
    weight_learning_rate: float = 0.03
    distillation: float = 0.7
    distillation_temperature: float = 4.0
    cost_weight: float = 0.1
    score_learning_rate: float = 0.02
    temperature_start: float = 0.6
    temperature_end: float = 0.05

    @property
    def used(self) -> frozenset[str]:
        """Names of the settings that make a difference beside the others given here."""
        unused = set() if self.learn == "gradient" else set(_GRADIENT)
        if self.learn != "saliency":
            unused.add("saliency_epochs")
        if self.scale == "uniform":
            unused.add("cost_exponent")
        if self.distillation == 0:
            unused.add("distillation_temperature")
        known = {"epochs", "initial", "scale", "cost_exponent"} if self.epochs == 0 else set(self.__dataclass_fields__)
        return frozenset(known - unused)

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                given = getattr(self, name)
                raise SettingsError(f"search {name} '{given}' given; expected one of {', '.join(allowed)}")
        check_ranges(self, _RANGES, "search")


CHOICES: dict[str, tuple[str, ...]] = {
    "learn": ("saliency", "gradient", "frozen"),
    "initial": tuple(CRITERIA),
    "scale": ("global", "uniform"),
}
"""What the settings that are no numbers may be."""
_RANGES = (
    ("epochs", 0, 100_000),
    ("cost_exponent", 0, 10),
    ("ramp", 0, 1),
    ("saliency_epochs", 0, 100_000),
    ("weight_learning_rate", 0, 10),
    ("distillation", 0, 1),
    ("distillation_temperature", 0.1, 100),
    ("cost_weight", 0, 1000),
    ("score_learning_rate", 0, 10),
    ("temperature_start", 1e-3, 100),
    ("temperature_end", 1e-3, 100),
)
_GRADIENT = {"cost_weight", "score_learning_rate", "temperature_start", "temperature_end"}
_WARM_UP = 0.1  # of the weights' learning rate: the network that is searched was trained to its end


def search(
    network: nn.Module,
    coupling: Coupling,
    cost: Cost,
    lessons: Lessons,
    share: float,
    settings: SearchSettings,
    compute: Compute,
    *,
    seed: int,
    session: Session,
    blocks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Train scores for a share of the network's cost, and `network` with them, in place.

    Args:
        network: The network to make smaller, on the compute's device: the dense one, or where a descent stands.
        coupling: Of `network`.
        cost: Of `network`, on the compute's device.
        lessons: Augmented training batches with the dense network's logits.
        share: Of the cost of `network`, in (0, 1].
        settings: See there.
        compute: Device and precision.
        seed: Of the starting criterion, of dropout, and of batches that are drawn from torch's own chance.
        session: Reports and checkpoints, phase "search".
        blocks: Channels of each group that come and go together, see `cut_at_budget`.

    Returns:
        Scores (C,), on the compute's device.
    """

    def measured() -> torch.Tensor:
        compute.seed(seed * 100_003 - 1)  # as before every epoch: batches may be drawn from torch's own chance
        return CRITERIA[settings.initial](network, coupling, lessons.batches, compute, seed)

    # Kept, since a resumed run must not depend on sums that a GPU may take in another order.
    importance = session.once("importance", measured).to(compute.device)
    scaling = Scaling(coupling, cost, settings.scale, settings.cost_exponent)
    if settings.epochs == 0:
        return scaling(importance)
    rule: ScoreRule
    if settings.learn == "gradient":
        rule = Gradient(
            scaling(importance),
            coupling,
            cost,
            learning_rate=settings.score_learning_rate,
            cost_weight=settings.cost_weight,
            temperatures=(settings.temperature_start, settings.temperature_end),
        )
    else:
        until = settings.ramp if settings.learn == "saliency" else -1.0
        rule = Saliency(importance, scaling, window=settings.saliency_epochs * len(lessons), until=until)
    group_of = coupling.group_of.to(compute.device)
    masked = MaskedNetwork(network, coupling)
    optimizer = sgd(network, TrainingSettings(epochs=1, learning_rate=settings.weight_learning_rate or 1.0))
    steps = settings.epochs * len(lessons)

    def loss(logits: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor | None) -> torch.Tensor:
        return distillation_loss(logits, taught, labels, settings.distillation, settings.distillation_temperature)

    step = Step(network, loss, optimizer, clip=TrainingSettings.clip, compute=compute, under=masked.under)

    def train_epoch(epoch: int) -> dict[str, float]:
        network.train()
        compute.seed(seed * 100_003 + epoch)
        total = torch.zeros((), device=compute.device)
        for index, (images, labels, taught) in enumerate(lessons.epoch(epoch)):
            done = (epoch * len(lessons) + index) / steps
            wanted = share ** min(1.0, done / settings.ramp) if settings.ramp else share
            mask = rule.mask(cut_at_budget(rule.scores, group_of, cost, wanted, blocks), done)
            rate = settings.weight_learning_rate * one_cycle(done, _WARM_UP)
            stepped = step(images, labels, taught, mask, rate=rate)
            total += stepped.loss
            total += rule.step(stepped.mask_gradient, share, done)
        return {"loss": float(total) / len(lessons)}

    state = State(
        modules={"network": network},
        optimizers={"weights": optimizer, **rule.optimizers},
        tensors=rule.tensors,
    )
    session.run("search", settings.epochs, train_epoch, state)
    network.zero_grad()  # of no more use, and on a GPU they hold on to the memory of the recorded step
    network.eval()
    return rule.scores.detach()
