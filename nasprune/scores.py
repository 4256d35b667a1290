"""Scores, the one global threshold, and the masks made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from nasprune.cost import Cost
    from nasprune.coupling import Coupling


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a budget makes of the scores.

    Attributes:
        kept: (C,) bool, the channels that stay.
        threshold: The global threshold, a 0-d tensor: kept channels score above it, but for the best one
            of a group that would otherwise be empty.
        cost: Of the network that keeps them.
    """

    kept: torch.Tensor
    threshold: torch.Tensor
    cost: torch.Tensor


def cut_at_budget(
    scores: torch.Tensor, group_of: torch.Tensor, cost: Cost, budget: float, blocks: torch.Tensor | None = None
) -> Cut:
    """The lowest global threshold whose network costs at most `budget` times the one that was traced.

    Channels are taken from the best score down until the next one would exceed the budget, so the cost
    lies within one channel under it. The best channel of every group always stays: a network needs it.
    With blocks, channels of a group come and go so many at a time, the best ones together, each block with its mean
    score; so widths are multiples of the block, or whole.
    Everything is computed on the scores' device at once, with no wait for its result.

    Args:
        scores: (C,) one score a channel.
        group_of: (C,) int64 group index of each channel.
        cost: The cost of group widths.
        budget: Share of the cost at full widths, in (0, 1].
        blocks: (G,) int64 channels of each group that come together; 1 by default.
    """
    scores = scores.detach()
    groups = len(cost.sizes)
    order = torch.argsort(scores, descending=True, stable=True)
    ends = torch.ones_like(order, dtype=torch.bool)
    if blocks is None:
        place = _places(order, group_of, groups)
    else:
        place = _places(order, group_of, groups) // blocks.to(order.device)[group_of]
        scores = _block_means(scores, group_of, place, cost.sizes.long())
        # By the block's score; the sort is stable, so that blocks of equal scores stay apart by group and place.
        by_block = torch.argsort(place * groups + group_of, stable=True)
        order = by_block[torch.argsort(scores[by_block], descending=True, stable=True)]
    first = place == 0
    order = order[torch.argsort((~first[order]).byte(), stable=True)]
    if blocks is not None:
        name = (place * groups + group_of)[order]
        ends[:-1] = name[1:] != name[:-1]
    costs = cost(_running_counts(group_of[order], groups).T)  # (C,): non-decreasing
    fits = (costs <= budget * cost.full * (1 + 1e-12)) & ends
    numbers = torch.arange(1, len(order) + 1, device=order.device)
    count = torch.maximum(torch.where(fits, numbers, 0).amax(), first.sum())
    kept = torch.zeros_like(first)
    kept[order] = numbers <= count
    # Half-way between the worst that stays on its own merit and the best that goes.
    ranked = scores[order]
    last = _at(ranked, count - 1)
    following = _at(ranked, count.clamp(max=len(order) - 1))
    threshold = torch.where(count == len(order), last - 1, (last + following) / 2)
    return Cut(kept=kept, threshold=threshold, cost=_at(costs, count - 1))


def _at(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The value at a 0-d place; an index in brackets would wait for it."""
    return values.gather(0, place[None])[0]


def _places(order: torch.Tensor, group_of: torch.Tensor, groups: int) -> torch.Tensor:
    """(C,) the rank of each channel within its group; by rank and not by score, so that ties leave one channel."""
    sorted_groups = group_of[order]
    counts = _running_counts(sorted_groups, groups)
    return torch.empty_like(order).scatter(0, order, counts.gather(0, sorted_groups[None])[0] - 1)


def _running_counts(group_of: torch.Tensor, groups: int) -> torch.Tensor:
    """(G, C) how many of the first channels, in this order, are of each group."""
    # Summed along what lies together in memory: along the other axis a GPU adds row after row.
    here: torch.Tensor = group_of == torch.arange(groups, device=group_of.device)[:, None]
    return here.cumsum(1)


def _block_means(
    scores: torch.Tensor, group_of: torch.Tensor, place: torch.Tensor, sizes: torch.Tensor
) -> torch.Tensor:
    """(C,) for every channel the mean score of its block, in groups of so many channels (G,)."""
    index = (sizes.cumsum(0) - sizes)[group_of] + place
    total = torch.zeros(len(scores), dtype=torch.float64, device=scores.device)
    count = torch.zeros_like(total)
    total.index_add_(0, index, scores.double())
    count.index_add_(0, index, torch.ones_like(total))
    return (total / count.clamp(min=1))[index].to(scores.dtype)


def block_sizes(coupling: Coupling, round_to: int) -> torch.Tensor | None:
    """(G,) channels of each group that come together so that widths are multiples of `round_to`; None for 1.

    Where one channel of a group stands for several of a layer, fewer make a block.
    """
    if round_to == 1:
        return None
    blocks = torch.full((len(coupling.groups),), round_to)
    for index, group in enumerate(coupling.groups):
        own = torch.arange(group.start, group.start + group.size)
        for layer in coupling.layers:
            stands_for = int(torch.isin(layer.outputs, own).sum()) // group.size
            if stands_for and layer.kind in ("conv", "linear"):
                blocks[index] = round_to // math.gcd(round_to, stands_for)
                break
    return blocks


def check_budget(budget: float, cost: Cost, blocks: torch.Tensor | None = None) -> None:
    """See whether a network of at least one channel, or block, a group fits the budget.

    Raises:
        SettingsError: if none does, or the budget is not in (0, 1].
    """
    smallest = torch.ones_like(cost.sizes) if blocks is None else torch.minimum(cost.sizes, blocks.to(cost.sizes))
    least = float(cost(smallest)) / cost.full
    if not 0 < budget <= 1:
        raise SettingsError(f"budget {budget:g} given; expected a share of the dense cost above 0 and at most 1")
    if budget < least:
        step = 10.0 ** (math.floor(math.log10(least)) - 1)  # two digits, of which the next number up fits
        raise SettingsError(
            f"budget {budget:g} given, but the least of every group already costs {least:.2g} of the dense "
            f"network; give a budget of at least {math.ceil(least / step) * step:.3g}"
        )


def soft_mask(scores: torch.Tensor, threshold: torch.Tensor | float, temperature: float) -> torch.Tensor:
    """(C,) masks in (0, 1): sigmoid((score - threshold) / temperature)."""
    return torch.sigmoid((scores - threshold) / temperature)


def straight_through_mask(soft: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """(C,) masks of 0 and 1 as in `kept`, with the gradient of `soft` (Bengio et al. 2013)."""
    return kept.to(soft.dtype) + soft - soft.detach()
