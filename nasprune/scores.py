"""Scores, the one global threshold, and the masks made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from nasprune.cost import MacsCost


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a budget makes of the scores.

    Attributes:
        kept: (C,) bool, the channels that stay.
        threshold: The global threshold, a 0-d tensor: kept channels score above it, but for the best one
            of a group that would otherwise be empty.
        macs: MACs of the network that keeps them.
    """

    kept: torch.Tensor
    threshold: torch.Tensor
    macs: torch.Tensor


def cut_at_budget(scores: torch.Tensor, group_of: torch.Tensor, cost: MacsCost, budget: float) -> Cut:
    """The lowest global threshold whose network costs at most `budget` times the one that was traced.

    Channels are taken from the best score down until the next one would exceed the budget, so the cost
    lies within one channel under it. The best channel of every group always stays: a network needs it.
    Everything is computed on the scores' device at once, with no wait for its result.

    Args:
        scores: (C,) one score a channel.
        group_of: (C,) int64 group index of each channel.
        cost: The cost of group widths.
        budget: Share of the MACs at full widths, in (0, 1].
    """
    scores = scores.detach()
    groups = len(cost.sizes)
    order = torch.argsort(scores, descending=True, stable=True)
    # The best of each group, by rank and not by score, so that ties leave one channel a group.
    first = torch.zeros_like(scores, dtype=torch.bool)
    ranks = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
    first_rank = torch.full((groups,), len(order), device=order.device).scatter_reduce(0, group_of, ranks, "amin")
    first[order[first_rank]] = True
    order = torch.cat([order[first[order]], order[~first[order]]])
    steps = torch.nn.functional.one_hot(group_of[order], groups).cumsum(0)
    macs = cost(steps)  # (C,): non-decreasing
    count = (macs <= budget * cost.full * (1 + 1e-12)).sum().clamp(min=groups)
    kept = torch.zeros_like(first)
    kept[order] = torch.arange(len(order), device=order.device) < count
    # Half-way between the worst that stays on its own merit and the best that goes.
    ranked = scores[order]
    last = ranked[count - 1]
    following = ranked[count.clamp(max=len(order) - 1)]
    threshold = torch.where(count == len(order), last - 1, (last + following) / 2)
    return Cut(kept=kept, threshold=threshold, macs=macs[count - 1])


def check_budget(budget: float, cost: MacsCost) -> None:
    """Raise SettingsError if no network of at least one channel a group fits the budget."""
    least = float(cost(torch.ones_like(cost.sizes))) / cost.full
    if not 0 < budget <= 1:
        raise SettingsError(f"budget {budget:g} given; expected a share of the dense MACs above 0 and at most 1")
    if budget < least:
        raise SettingsError(
            f"budget {budget:g} given, but one channel in every group already costs {least:.2g} of the dense "
            f"MACs; give a budget of at least {least:.2g}"
        )


def soft_mask(scores: torch.Tensor, threshold: torch.Tensor | float, temperature: float) -> torch.Tensor:
    """(C,) masks in (0, 1): sigmoid((score - threshold) / temperature)."""
    return torch.sigmoid((scores - threshold) / temperature)


def straight_through_mask(soft: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """(C,) masks of 0 and 1 as in `kept`, with the gradient of `soft` (Bengio et al. 2013)."""
    return kept.to(soft.dtype) + soft - soft.detach()
