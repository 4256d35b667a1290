"""Plain criteria against what they say, on a network small enough to check by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.cost import macs_cost
from nasprune.coupling import find_coupling
from nasprune.criteria import CRITERIA, Scaling
from nasprune.errors import NetworkError
from nasprune.surgery import derive

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = (nn.Conv2d(i, o, 1) for i, o in ((3, 4), (4, 6), (6, 4)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (4, 6, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norms[0](self.stem(x))
        x = x + self.norms[2](self.outer(self.norms[1](self.inner(x)).relu()))
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Residual().eval()
    for norm in network.norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return network


class Batches:
    def __init__(self, count):
        generator = torch.Generator().manual_seed(1)
        self.batches = [
            (torch.randn(8, 3, 5, 5, generator=generator), torch.randint(0, 3, (8,), generator=generator))
            for _ in range(count)
        ]

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        return iter(self.batches)


def importance(name, network, batches=None):
    coupling = find_coupling(network, torch.zeros(1, 3, 5, 5))
    return CRITERIA[name](network, coupling, batches or Batches(2), COMPUTE, 0), coupling


def test_groups_of_the_example(network):
    _, coupling = importance("constant", network)
    assert [(group.name, group.size) for group in coupling.groups] == [("stem", 4), ("inner", 6)]


def test_l1_sums_over_all_layers_of_a_stream(network):
    found, _ = importance("l1", network)
    stream = network.stem.weight.abs().sum((1, 2, 3)) + network.outer.weight.abs().sum((1, 2, 3))
    assert torch.allclose(found[:4], stream)
    assert torch.allclose(found[4:], network.inner.weight.abs().sum((1, 2, 3)))


def test_bn_scale_sums_over_all_norms_of_a_stream(network):
    found, _ = importance("bn_scale", network)
    assert torch.allclose(found[:4], network.norms[0].weight.abs() + network.norms[2].weight.abs())
    assert torch.allclose(found[4:], network.norms[1].weight.abs())


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(4, affine=False)])
def test_bn_scale_needs_batch_norm(norm):
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(NetworkError, match="pass no batch norm; use l1"):
        importance("bn_scale", plain)


def test_fpgm_is_least_at_the_middle_of_the_filters():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network[0].weight.data = torch.tensor([0.0, 1.0, 5.0]).reshape(3, 1, 1, 1)
    coupling = find_coupling(network, torch.zeros(1, 1, 4, 4))
    found = CRITERIA["fpgm"](network, coupling, Batches(1), COMPUTE, 0)
    assert found.tolist() == pytest.approx([6, 5, 9])


@pytest.mark.parametrize("name", ["l1", "fpgm", "taylor"])
def test_filters_that_do_not_train_count_as_others_do(name, network):
    trained, _ = importance(name, network)
    frozen = network.stem.weight.detach()
    del network.stem.weight
    network.stem.register_buffer("weight", frozen)
    assert torch.equal(importance(name, network)[0], trained)


def test_taylor_is_the_squared_first_order_change_of_the_loss(network):
    batches = Batches(1)
    found, coupling = importance("taylor", network, batches)
    images, labels = batches.batches[0]

    def loss(mask):
        from nasprune.masking import MaskedNetwork

        return nn.functional.cross_entropy(MaskedNetwork(network, coupling)(images, mask), labels)

    with torch.no_grad():
        for channel in range(coupling.channels):
            mask = torch.ones(coupling.channels)
            mask[channel] = 1 - 1e-2
            change = (loss(torch.ones(coupling.channels)) - loss(mask)) / 1e-2
            assert float(found[channel]) == pytest.approx(float(change) ** 2, rel=0.1, abs=1e-6)


def test_a_dead_channel_is_the_least_important_to_taylor(network):
    network.outer.weight.data[:, 2] = 0  # nothing reads inner channel 2
    found, _ = importance("taylor", network)
    assert int(found.argmin()) == 4 + 2
    assert float(found[6]) == 0


def test_random_is_seeded(network):
    assert torch.equal(importance("random", network)[0], importance("random", network)[0])


@pytest.mark.parametrize("name", ["l1", "fpgm", "bn_scale", "taylor", "random"])
@pytest.mark.parametrize(("scale", "exponent"), [("global", 0.0), ("uniform", 0.0), ("global", 1.0), ("global", 0.5)])
def test_scaled_scores_are_standardised_and_keep_the_order_in_a_group(network, name, scale, exponent):
    found, coupling = importance(name, network)
    scores = Scaling(coupling, macs_cost(coupling), scale, exponent)(found)
    assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
    assert float(scores.std()) == pytest.approx(1, abs=1e-5)
    for group in coupling.groups:
        part = slice(group.start, group.start + group.size)
        assert scores[part].argsort().tolist() == found[part].argsort().tolist()


def test_derived_network_does_not_touch_its_source(network):
    _, coupling = importance("constant", network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = torch.tensor([True] + [False] * 3 + [True] * 6)
    derive(network, coupling, kept).stem.weight.data.zero_()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_scores_are_importance_over_marginal_cost(network, exponent):
    found, coupling = importance("l1", network)
    cost = macs_cost(coupling)
    each = cost.marginal(cost.sizes)[coupling.group_of].float()
    divided = Scaling(coupling, cost, "global", 0.0)(found / each**exponent)
    assert torch.allclose(Scaling(coupling, cost, "global", exponent)(found), divided, atol=1e-4)


def test_taylor_is_the_mean_of_what_each_batch_says(network):
    batches = Batches(3)
    whole, _ = importance("taylor", network, batches)
    alone = []
    for batch in batches.batches:
        one = Batches(0)
        one.batches = [batch]
        alone.append(importance("taylor", network, one)[0])
    assert torch.allclose(whole, torch.stack(alone).mean(0))


def test_a_derived_networks_frozen_weights_stay_frozen(network):
    network.stem.weight.requires_grad_(False)
    _, coupling = importance("constant", network)
    derived = derive(network, coupling, torch.tensor([True, False] * 5))
    learns = {name: weight.requires_grad for name, weight in network.named_parameters()}
    assert {name: weight.requires_grad for name, weight in derived.named_parameters()} == learns
