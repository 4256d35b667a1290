"""Coupling of small graphs, where one can say by hand what belongs together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.cost import macs_cost, measured_macs, params_cost
from nasprune.coupling import find_coupling
from nasprune.errors import NetworkError
from nasprune.masking import MaskedNetwork
from nasprune.surgery import derive

IMAGE = torch.zeros(2, 3, 8, 8)


class Concatenating(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.depthwise = nn.Conv2d(9, 9, 3, padding=1, groups=9)
        self.norm = nn.BatchNorm2d(9)
        self.last = nn.Linear(9 * 16, 3)

    def forward(self, x):
        x = torch.cat([self.left(x), self.right(x)], dim=1)
        x = nn.functional.max_pool2d(self.norm(self.depthwise(x)).relu(), 2)
        return self.last(torch.flatten(x, 1))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1), nn.Linear(6, 2)

    def forward(self, x):
        x = self.shared(self.shared(self.first(x)))
        return self.last(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Attentive(nn.Module):
    """One map for all channels, made of them by a convolution, and one made of their mean and maximum (CBAM)."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 1, 1), nn.Conv2d(6, 4, 1)
        self.spatial, self.last = nn.Conv2d(2, 1, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        x = self.second(x * self.gate(x).sigmoid())
        x = self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)).sigmoid() * x
        return self.last(x.mean((2, 3)))


class Normalising(nn.Module):
    """Its code holds tensors that are neither parameters nor buffers."""

    def __init__(self):
        super().__init__()
        self.deviation = torch.tensor(0.5)
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        x = (x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / self.deviation
        return self.last(self.first(x).relu().mean((2, 3)))


class Sloping(nn.Module):
    """A slope for each channel, and one for all."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Linear(8, 2)
        self.each, self.all = nn.PReLU(6), nn.PReLU()
        nn.init.uniform_(self.each.weight)

    def forward(self, x):
        return self.last(self.all(self.second(self.each(self.first(x)))).mean((2, 3)))


class Tied(nn.Module):
    """A module by two names, and two grouped convolutions with one weight."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
        self.stem = self.backbone[0]
        self.one, self.two, self.last = nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 2)
        self.mix, self.again = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.two.weight, self.again.weight = self.one.weight, self.mix.weight

    def forward(self, x):
        x = self.two(self.one(self.stem(x)).relu()).relu()
        return self.last(self.again(self.mix(x)).relu().mean((2, 3)))


class Filtering(nn.Module):
    """Convolves with filters that do not train: a blur of each channel, and differences of all."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 1), nn.Linear(4, 2)
        self.register_buffer("blur", torch.full((6, 1, 3, 3), 1 / 9))
        self.register_buffer("differences", torch.randn(4, 6, 1, 1))

    def forward(self, x):
        x = self.first(x)
        x = nn.functional.conv2d(x, self.blur, padding=1, groups=x.shape[1])
        return self.last(nn.functional.conv2d(x, self.differences).relu().mean((2, 3)))


class Asking(nn.Module):
    """Asks a tensor for its value, and goes on with the number."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Linear(8, 2)

    def forward(self, x):
        brightest = x.abs().max().item()
        return self.last(self.second(self.first(x) / (1 + brightest)).relu().mean((2, 3)))


@pytest.mark.parametrize("make", [Concatenating, Shared, Attentive, Normalising, Sloping, Tied, Filtering, Asking])
def test_every_cut_is_exact(make):
    torch.manual_seed(0)
    network = make().eval()
    coupling = find_coupling(network, IMAGE)
    images = torch.randn(2, 3, 8, 8)
    for seed in range(20):
        kept = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(seed)) < 0.5
        for group in coupling.groups:
            kept[group.start] = True
        with torch.no_grad():
            masked = MaskedNetwork(network, coupling)(images, kept.float())
            assert torch.allclose(masked, derive(network, coupling, kept)(images), atol=1e-5)


@pytest.mark.parametrize("groups", [8, 4])  # whole groups leave first, or some of each; then shapes say otherwise
def test_a_cut_of_a_cut_is_what_one_masks_whichever_way_groups_are_cut(groups):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, groups=groups), nn.ReLU(),
        nn.Conv2d(64, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    coupling = find_coupling(network, IMAGE)
    images = torch.randn(2, 3, 8, 8)
    for seed in range(3):
        kept = torch.zeros(coupling.channels, dtype=torch.bool)
        generator = torch.Generator().manual_seed(seed)
        for group in coupling.groups:
            kept[group.start + torch.randperm(group.size, generator=generator)[: (group.size + 1) // 2]] = True
        with torch.no_grad():
            masked = MaskedNetwork(network, coupling)(images, kept.float())
            network, coupling = derive(network, coupling, kept), coupling.after(kept)
            assert torch.allclose(masked, network(images), atol=1e-5)
        assert measured_macs(network, (3, 8, 8)) == macs_cost(coupling).full


def test_multiply_adds_are_of_one_image_whatever_tensors_the_code_holds():
    assert macs_cost(find_coupling(Normalising(), IMAGE)).full == 64 * 3 * 4 + 4 * 2


def test_parameters_are_counted_once_however_many_names_they_have():
    network = Tied()
    coupling = find_coupling(network, IMAGE)
    kept = coupling.first_channels({group.name: 3 for group in coupling.groups})
    left = sum(parameter.numel() for parameter in derive(network, coupling, kept).parameters())
    assert params_cost(coupling.after(kept), derive(network, coupling, kept)).full == left
    assert int(params_cost(coupling, network)(torch.full((len(coupling.groups),), 3))) == left


def test_slopes_leave_with_their_channels():
    coupling = find_coupling(Sloping(), IMAGE)
    assert [(group.name, group.size) for group in coupling.groups] == [("first", 6), ("second", 8)]


def test_a_map_for_all_channels_stays_and_they_do_not():
    coupling = find_coupling(Attentive(), IMAGE)
    assert [(group.name, group.size) for group in coupling.groups] == [("first", 6)]
    assert coupling.whole["gate"].startswith("a single channel for many")


def test_concatenated_channels_stay_independent():
    coupling = find_coupling(Concatenating(), IMAGE)
    assert [(group.name, group.size) for group in coupling.groups] == [("left", 4), ("right", 5)]


def test_shared_module_ties_its_inputs_and_counts_twice():
    coupling = find_coupling(Shared(), IMAGE)
    assert [(group.name, group.size) for group in coupling.groups] == [("first", 6)]
    assert macs_cost(coupling).full == 3 * 6 * 64 + 2 * 6 * 6 * 64 + 6 * 2


def test_cost_gradient_is_one_channel_more_or_less():
    cost = macs_cost(find_coupling(Concatenating(), IMAGE))
    widths = torch.tensor([2.0, 3.0], dtype=torch.float64)
    step = torch.tensor([1.0, 0.0], dtype=torch.float64)
    # No term here is quadratic in one width, so the gradient is the exact difference.
    assert float(cost.marginal(widths)[0]) == float(cost(widths + step) - cost(widths))


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.i0(x)


class Spectral(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.inner, self.last = nn.Conv2d(3, 4, 1), Bessel(), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.inner(self.conv(x)).mean((2, 3)))


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Spectral(), "operation special_i0 at inner is not understood"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), "nothing to prune"),
        (Branching(), "Branching does not trace"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(32)), r"does not run on an input of \(.*\): .* too small"),
    ],
)
def test_what_is_not_understood_is_named(network, message):
    with pytest.raises(NetworkError, match=message):
        find_coupling(network, IMAGE)
