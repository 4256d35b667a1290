"""Multiply-adds are those of one image, as torch counts them, whatever the code makes of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasprune.cost import macs_cost, measured_macs
from nasprune.coupling import find_coupling
from nasprune.surgery import derive

IMAGE = (4, 8, 8)


class Network(nn.Module):
    """A layer, what is in between, and two more."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 6, 3), nn.Linear(6, 2)

    def between(self, x):
        raise NotImplementedError

    def forward(self, x):
        return self.last(self.second(self.between(self.first(x))).relu().mean((2, 3)))


class Folded(Network):
    """Each band is an image of its own, as dates and views are."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)

    def forward(self, x):
        maps = self.second(self.first(x.reshape(-1, 1, 8, 8)).relu()).relu()
        return self.last(maps.mean((2, 3)).view(len(x), 4, -1).mean(1))


class OneByOne(Network):
    """Convolves image after image."""

    def between(self, x):
        return torch.stack([F.conv2d(image, torch.ones(8, 1, 3, 3), padding=1, groups=8) for image in x])


class Dynamic(Network):
    """Convolves every image with weights of its own."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(8, 8 * 8)

    def between(self, x):
        batch, channels, height, width = x.shape
        kernels = self.weights(x.mean((2, 3))).view(batch * channels, channels, 1, 1)
        return F.conv2d(x.reshape(1, -1, height, width), kernels, groups=batch).view(x.shape)


class Coded(Network):
    """Gates made of parameters: a row for each of some wavelengths."""

    def __init__(self, rows):
        super().__init__()
        self.codes = nn.Parameter(torch.randn(rows, 16))
        self.gate = nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 8))

    def between(self, x):
        return x * self.gate(self.codes).mean(0).sigmoid()[:, None, None]


class Asked(Coded):
    """The same gates, worked out for each image from parameters that are repeated and zeros that are made for it."""

    def between(self, x):
        codes = self.codes.expand(len(x), -1, -1) + torch.zeros(len(x), 1, 16)
        gates = self.gate(codes) + self.gate[2](x.new_zeros(len(x), 1, 10))
        return x * gates.mean(1).sigmoid()[:, :, None, None]


class Attending(Network):
    """A transformer's layer, which torch computes as one kernel where no gradient is asked for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.eval()

    def between(self, x):
        return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize(
    "make", [Folded, OneByOne, Dynamic, lambda: Coded(1), lambda: Coded(2), lambda: Coded(5), lambda: Asked(5)]
)
def test_the_cost_is_of_one_image_before_a_cut_and_after(make, batch):
    network = make()
    coupling = find_coupling(network, torch.zeros(batch, *IMAGE))
    cost = macs_cost(coupling)
    assert cost.full == measured_macs(network, IMAGE)
    assert bool((cost.marginal(cost.sizes) > 0).all())
    widths = {group.name: 2 + number for number, group in enumerate(coupling.groups)}
    derived = derive(network, coupling, coupling.first_channels(widths))
    assert int(cost(torch.tensor(list(widths.values())))) == measured_macs(derived, IMAGE)


def test_layers_that_torch_computes_as_one_are_counted_one_by_one():
    network = Attending()
    assert macs_cost(find_coupling(network, torch.zeros(2, *IMAGE))).full == measured_macs(network, IMAGE)
    assert torch.backends.mha.get_fastpath_enabled()
