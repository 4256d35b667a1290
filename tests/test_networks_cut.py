"""Laws 1 to 3 for every supported network: the cut is exact, its cost known, its budget kept."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasprune.cost import macs_cost
from nasprune.masking import MaskedNetwork
from nasprune.networks import build_with_widths, couple
from nasprune.scores import cut_at_budget
from nasprune.surgery import derive
from tests.conftest import NETWORKS, lively, settings_of


@pytest.mark.parametrize(("name", "head"), NETWORKS)
def test_cut_network_is_the_masked_network(name, head):
    network, settings = lively(name, head), settings_of(name, head)
    coupling = couple(network, settings)
    cost = macs_cost(coupling)
    scores = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(3))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    for budget in (0.5, 0.1):
        cut = cut_at_budget(scores, coupling.group_of, cost, budget)
        derived = derive(network, coupling, cut.kept)
        with torch.no_grad():
            masked = MaskedNetwork(network, coupling)(images, cut.kept.float())
            logits = derived(images)
        # Law 1: the same logits.
        assert float((masked - logits).abs().max()) <= 1e-4 * float(logits.abs().max())
        assert not torch.allclose(logits, network(images), rtol=1e-3)
        # Law 2: the predicted MACs are those that torch counts.
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            derived(images[:1])
        assert int(cut.cost) == counted.get_total_flops() // 2
        # Law 3: under the budget, by less than one channel.
        assert float(cut.cost) <= budget * cost.full
        dropped = torch.where(cut.kept, -torch.inf, scores)
        widths = torch.tensor(list(coupling.widths(cut.kept).values()), dtype=torch.float64)
        widths[coupling.group_of[dropped.argmax()]] += 1
        assert float(cost(widths)) > budget * cost.full
        # The network is rebuilt from its widths alone.
        rebuilt = build_with_widths(settings, coupling.widths(cut.kept))
        rebuilt.load_state_dict(derived.state_dict())
        with torch.no_grad():
            assert torch.equal(rebuilt.eval()(images), logits)


def test_residual_stream_is_one_group():
    settings = settings_of("resnet18", "original")
    coupling = couple(lively("resnet18", "original"), settings)
    sizes = {group.name: group.size for group in coupling.groups}
    # Four streams (the first begins at the stem) and the inner channels of eight blocks.
    assert sizes == {
        "conv1": 64, "layer1.0.conv1": 64, "layer1.1.conv1": 64,
        "layer2.0.conv1": 128, "layer2.0.conv2": 128, "layer2.1.conv1": 128,
        "layer3.0.conv1": 256, "layer3.0.conv2": 256, "layer3.1.conv1": 256,
        "layer4.0.conv1": 512, "layer4.0.conv2": 512, "layer4.1.conv1": 512,
    }  # fmt: skip


def test_widths_of_another_network_are_refused():
    from nasprune.errors import NetworkError

    with pytest.raises(NetworkError, match="widths given do not fit resnet10"):
        build_with_widths(settings_of("resnet10", "original"), {"conv1": 3})
