"""The threshold and the masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasprune.cost import macs_cost, params_cost
from nasprune.coupling import find_coupling
from nasprune.errors import SettingsError
from nasprune.scores import block_sizes, check_budget, cut_at_budget, soft_mask, straight_through_mask
from nasprune.surgery import derive
from tests.waiting import without_values

NETWORK = nn.Sequential(
    nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 9, 3), nn.BatchNorm2d(9), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    nn.Linear(9, 4),
)  # fmt: skip
COUPLING = find_coupling(NETWORK, torch.zeros(1, 3, 12, 12))
COST = macs_cost(COUPLING)
LEAST = float(COST(torch.ones(2))) / COST.full

score_lists = st.lists(st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.1000001, 3.0]), min_size=16, max_size=16)


@settings(max_examples=300, deadline=None)
@given(score_lists, st.floats(LEAST, 1.0))
def test_cut_keeps_law_3_for_any_scores(scores, budget):
    scores = torch.tensor(scores)
    cut = cut_at_budget(scores, COUPLING.group_of, COST, budget)
    widths = torch.tensor(list(COUPLING.widths(cut.kept).values()), dtype=torch.float64)
    assert float(cut.cost) == float(COST(widths)) <= budget * COST.full * (1 + 1e-9)
    assert bool((widths >= 1).all())
    if not bool(cut.kept.all()):
        best_dropped = int(torch.where(cut.kept, -torch.inf, scores).argmax())
        widths[COUPLING.group_of[best_dropped]] += 1
        # Ties may stand in another order, so that the next one is any channel of the same score.
        ties = (scores == scores[best_dropped]) & ~cut.kept
        dearer = []
        for channel in ties.nonzero().flatten().tolist():
            more = torch.tensor(list(COUPLING.widths(cut.kept).values()), dtype=torch.float64)
            more[COUPLING.group_of[channel]] += 1
            dearer.append(float(COST(more)) > budget * COST.full)
        assert any(dearer)
    # One global threshold: but for a group's only channel, all kept score at least what all dropped do.
    for group in COUPLING.groups:
        part = slice(group.start, group.start + group.size)
        if int(cut.kept[part].sum()) > 1 and not bool(cut.kept.all()):
            assert float(scores[part][cut.kept[part]].min()) >= float(scores[~cut.kept].max())


@settings(max_examples=100, deadline=None)
@given(score_lists, st.floats(LEAST, 1.0), st.floats(LEAST, 1.0))
def test_smaller_budgets_keep_subsets(scores, one, other):
    scores = torch.tensor(scores)
    small, large = sorted((one, other))
    kept = [cut_at_budget(scores, COUPLING.group_of, COST, budget).kept for budget in (small, large)]
    assert bool((kept[0] <= kept[1]).all())


def test_the_whole_budget_keeps_everything():
    assert bool(cut_at_budget(torch.randn(16), COUPLING.group_of, COST, 1.0).kept.all())


@pytest.mark.parametrize("round_to", [1, 4])
def test_the_threshold_waits_for_no_value(round_to):
    """A GPU that has to answer stands still until the next kernel is sent to it."""
    scores, group_of, blocks = torch.randn(16), COUPLING.group_of, block_sizes(COUPLING, round_to)
    with without_values():
        cut = cut_at_budget(scores, group_of, COST, 0.5, blocks)
    assert cut.kept.shape == (16,)
    assert cut.threshold.shape == cut.cost.shape == ()


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.5, float("nan"), LEAST * 0.99])
def test_unreachable_budgets_are_refused(budget):
    with pytest.raises(SettingsError, match=r"budget .* given"):
        check_budget(budget, COST)


@pytest.mark.parametrize("least", [0.01549, 0.0301, 0.05, 0.996])
def test_the_budget_that_is_advised_can_be_reached(least):
    class Flat:
        sizes, full = torch.ones(2), 1.0

        def __call__(self, widths):
            return torch.tensor(least, dtype=torch.float64)

    cost = Flat()
    with pytest.raises(SettingsError) as refused:
        check_budget(least / 2, cost)
    check_budget(float(str(refused.value).rpartition(" ")[2]), cost)


def test_straight_through_mask_is_hard_forward_and_soft_backward():
    scores = torch.tensor([-1.0, 0.2, 2.0], requires_grad=True)
    soft = soft_mask(scores, 0.1, 0.5)
    mask = straight_through_mask(soft, torch.tensor([False, True, True]))
    assert mask.tolist() == [0.0, 1.0, 1.0]
    (hard_gradient,) = torch.autograd.grad(mask.sum(), scores, retain_graph=True)
    (soft_gradient,) = torch.autograd.grad(soft.sum(), scores)
    assert torch.equal(hard_gradient, soft_gradient)
    assert bool((hard_gradient > 0).all())


@settings(max_examples=200, deadline=None)
@given(score_lists, st.integers(2, 5), st.floats(0.5, 1.0))
def test_blocks_give_round_widths_within_the_budget(scores, round_to, budget):
    scores = torch.tensor(scores)
    blocks = block_sizes(COUPLING, round_to)
    assert blocks is not None
    budget = max(budget, float(COST(torch.minimum(COST.sizes, blocks))) / COST.full)
    cut = cut_at_budget(scores, COUPLING.group_of, COST, budget, blocks)
    widths = COUPLING.widths(cut.kept)
    sizes = {group.name: group.size for group in COUPLING.groups}
    assert all(width % round_to == 0 or width == sizes[name] for name, width in widths.items())
    assert float(cut.cost) == float(COST(torch.tensor(list(widths.values())))) <= budget * COST.full * (1 + 1e-9)
    # The best of each group are taken.
    for group in COUPLING.groups:
        part = slice(group.start, group.start + group.size)
        if not bool(cut.kept[part].all()):
            assert float(scores[part][cut.kept[part]].min()) >= float(scores[part][~cut.kept[part]].max())


def test_blocks_count_what_a_channel_stands_for():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.GroupNorm(4, 8),
        nn.Conv2d(8, 6, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )
    blocks = block_sizes(find_coupling(network, torch.zeros(2, 3, 4, 4)), 4)
    assert blocks is not None
    assert blocks.tolist() == [2, 4]  # a channel of the first group is a pair


def test_parameters_are_counted_exactly():
    cost = params_cost(COUPLING, NETWORK)
    assert cost.full == sum(parameter.numel() for parameter in NETWORK.parameters())
    kept = torch.rand(COUPLING.channels, generator=torch.Generator().manual_seed(0)) < 0.5
    kept[[0, 7]] = True
    derived = derive(NETWORK, COUPLING, kept)
    widths = torch.tensor(list(COUPLING.widths(kept).values()))
    assert float(cost(widths)) == sum(parameter.numel() for parameter in derived.parameters())
