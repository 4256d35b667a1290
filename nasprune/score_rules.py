"""How scores change during a search: by what their channels turn out to be worth, or by gradient descent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch

from nasprune.scores import Cut, soft_mask, straight_through_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasprune.cost import Cost
    from nasprune.coupling import Coupling
    from nasprune.criteria import Scaling


class ScoreRule(Protocol):
    """Scores (C,) and the way they learn."""

    @property
    def scores(self) -> torch.Tensor:
        """As they are now."""
        ...

    @property
    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """That a checkpoint has to hold."""
        ...

    @property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """That a checkpoint has to hold."""
        ...

    def mask(self, cut: Cut, done: float) -> torch.Tensor:
        """The mask (C,) of 0 and 1 that `cut` asks for; it requires a gradient where the scores learn from it.

        `done` is the share of the search.
        """
        ...

    def step(self, gradient: torch.Tensor | None, share: float, done: float) -> torch.Tensor | float:
        """Learn from the loss's gradient (C,) on the last mask, where one was required.

        Returns the cost-aware loss for a wanted `share` of the cost, 0 where a rule has none.
        """
        ...


class Saliency:
    """Scores that follow the running saliency of their channels while the network shrinks and trains.

    The search minimises, over the probability p of every channel to stay, the expected loss plus cost. To second
    order the loss rises by half the mean squared gradient of its mask, F, when a channel goes (its Fisher
    information, Theis et al. 2018), so the objective is sum((1 - p) F / 2) + lambda * cost(p). With the cost's slope
    taken where the network stands, its minimum needs no learning rate: channels stay in the order of F over their
    marginal cost, down to where that ratio is 2 lambda, and lambda is what meets the budget: the global threshold. F
    is the running mean of what each batch says under the mask of that moment, for channels that are out as well, so
    one may come back until the budget is reached.

    Args:
        importance: (C,) to start from.
        scaling: Makes scores of saliencies.
        window: Steps that the running mean reaches back.
        until: Share of the search in which scores learn; then they rest. Below 0 they never learn.
    """

    def __init__(self, importance: torch.Tensor, scaling: Scaling, *, window: float, until: float) -> None:
        self._scaling = scaling
        self._until = until
        self._fresh = 1 / max(1.0, window)
        self.saliency = importance / importance.mean().clamp(min=1e-30)
        self.optimizers: Mapping[str, torch.optim.Optimizer] = {}
        self.tensors = {"saliency": self.saliency}
        self._scores: torch.Tensor | None = None

    @property
    def scores(self) -> torch.Tensor:
        """Standardised log of saliency over marginal cost."""
        if self._scores is None:
            self._scores = self._scaling(self.saliency)
        return self._scores

    def mask(self, cut: Cut, done: float) -> torch.Tensor:
        """Channels that are out have a gradient, too."""
        return cut.kept.float().requires_grad_(done <= self._until)

    def step(self, gradient: torch.Tensor | None, share: float, done: float) -> float:
        """Once the budget is reached the scores rest, and the weights settle.

        Nothing is added to the loss: the threshold is where the cost is weighed.
        """
        if gradient is not None:
            fresh = gradient.square()
            self.saliency.lerp_(fresh / fresh.mean().clamp(min=1e-30), self._fresh)
            self._scores = None
        return 0.0


class Gradient:
    """Scores trained by gradient descent through straight-through masks, with a cost-aware loss.

    The direct reading of the paper: the mask is 0 or 1 forward and a sigmoid around the threshold backward, whose
    temperature falls; the cost-aware loss is the expected cost over the wanted ones. Steps are as long for weak
    gradients as for strong ones in Adam, which lets noise decide between channels; here one number, the root mean
    square over all channels, scales them all.

    Args:
        start: (C,) scores.
        coupling: The groups.
        cost: Of the groups' widths.
        learning_rate: Of the scores at the first step; it falls to 0 as a cosine.
        cost_weight: Of the cost-aware loss.
        temperatures: Of the sigmoid at the first and last step; in between it falls geometrically.
    """

    def __init__(
        self,
        start: torch.Tensor,
        coupling: Coupling,
        cost: Cost,
        *,
        learning_rate: float,
        cost_weight: float,
        temperatures: tuple[float, float],
    ) -> None:
        self._cost = cost
        self._learning_rate, self._cost_weight, self._temperatures = learning_rate, cost_weight, temperatures
        self._group_of = coupling.group_of.to(start.device)
        self.scores = start.clone().requires_grad_()
        self._soft = self._mask = self.scores
        self._descent = torch.optim.SGD([self.scores], lr=learning_rate, momentum=0.9, dampening=0.9)
        self.optimizers = {"scores": self._descent}
        self.tensors = {"scores": self.scores}

    def mask(self, cut: Cut, done: float) -> torch.Tensor:
        """Straight-through."""
        start, end = self._temperatures
        self._soft = soft_mask(self.scores, cut.threshold, start * (end / start) ** done)
        self._mask = straight_through_mask(self._soft, cut.kept)
        return self._mask

    def penalty(self, share: float) -> torch.Tensor:
        """The cost-aware loss on the expected widths."""
        widths = torch.zeros_like(self._cost.sizes).index_add(0, self._group_of, self._soft.double())
        return self._cost_weight * (self._cost(widths) / (share * self._cost.full)).float()

    def step(self, gradient: torch.Tensor | None, share: float, done: float) -> torch.Tensor:
        """One step, shorter towards the end."""
        penalty = self.penalty(share)
        torch.autograd.backward((self._mask, penalty), (gradient, torch.ones_like(penalty)))
        slope = self.scores.grad
        assert slope is not None  # noqa: S101 (for the type checker)
        slope /= slope.square().mean().sqrt().clamp(min=1e-12)
        self._descent.param_groups[0]["lr"] = self._learning_rate * (1 + math.cos(math.pi * done)) / 2
        self._descent.step()
        self._descent.zero_grad(set_to_none=True)
        return penalty.detach()
