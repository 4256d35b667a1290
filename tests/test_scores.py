"""The threshold and the masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasprune.cost import macs_cost
from nasprune.coupling import find_coupling
from nasprune.errors import SettingsError
from nasprune.scores import check_budget, cut_at_budget, soft_mask, straight_through_mask

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
    assert float(cut.macs) == float(COST(widths)) <= budget * COST.full * (1 + 1e-9)
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


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.5, float("nan"), LEAST * 0.99])
def test_unreachable_budgets_are_refused(budget):
    with pytest.raises(SettingsError, match=r"budget .* given"):
        check_budget(budget, COST)


def test_straight_through_mask_is_hard_forward_and_soft_backward():
    scores = torch.tensor([-1.0, 0.2, 2.0], requires_grad=True)
    soft = soft_mask(scores, 0.1, 0.5)
    mask = straight_through_mask(soft, torch.tensor([False, True, True]))
    assert mask.tolist() == [0.0, 1.0, 1.0]
    (hard_gradient,) = torch.autograd.grad(mask.sum(), scores, retain_graph=True)
    (soft_gradient,) = torch.autograd.grad(soft.sum(), scores)
    assert torch.equal(hard_gradient, soft_gradient)
    assert bool((hard_gradient > 0).all())
