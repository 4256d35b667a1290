"""A coupling tried on the network: wrong cuts are found at any depth and scale, right ones never refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.coupling import find_coupling
from nasprune.proof import proven

EXAMPLE = torch.zeros(2, 3, 8, 8)


class Wider(nn.Module):
    """Makes louder what has fewer channels, which no cut may change."""

    def forward(self, x):
        return 4 * x / x.shape[1] ** 0.5


def deep(block, depth, scale, norm):
    """A plain network whose weights are `scale` times as large as fresh ones, with the statistics to match."""
    torch.manual_seed(0)
    modules = [nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.ReLU(), block]
    for _ in range(depth):
        modules += [nn.Conv2d(8, 8, 3, padding=1), norm(8), nn.ReLU()]
    network = nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.mul_(scale)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(16, 3, 8, 8))
    return network.eval()


def groups(network):
    return [group.name for group in proven(network, find_coupling(network, EXAMPLE), EXAMPLE).groups]


@pytest.mark.parametrize(
    ("norm", "depth", "scale"), [(nn.BatchNorm2d, 8, 1), (nn.BatchNorm2d, 3, 0.1), (nn.Identity, 3, 0.1)]
)
def test_a_wrong_cut_is_found_however_the_signal_fades_behind_it(norm, depth, scale):
    found = groups(deep(Wider(), depth, scale, norm))
    assert "0" not in found
    assert len(found) == depth


class Shifting(nn.Module):
    """Divides by a deviation of its own, and adds the logarithm of one number a class."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 40)
        self.register_buffer("moving_var", torch.full((8,), 0.02))
        self.register_buffer("prior", torch.full((40,), 1 / 40))

    def forward(self, x):
        return self.last((self.first(x) / self.moving_var.sqrt()[:, None, None]).mean((2, 3))) + self.prior.log()


@pytest.mark.parametrize("scale", [0.01, 1e5])
def test_a_right_cut_is_one_at_any_scale_of_the_weights(scale):
    assert len(groups(deep(nn.Identity(), 10, scale, nn.BatchNorm2d))) == 11


def test_what_is_positive_stays_so_while_cuts_are_tried():
    assert groups(Shifting()) == ["first"]
