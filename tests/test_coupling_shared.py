"""A weight that is used more than once, in whatever ways."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from nasprune.coupling import find_coupling
from nasprune.proof import proven


class Mirrored(nn.Module):
    """Convolves with a weight, and back with the same one, as an autoencoder of tied weights does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(6, 2)
        self.weight = nn.Parameter(torch.randn(12, 8, 3, 3) / 8)
        self.second = nn.Conv2d(8, 6, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        coded = F.conv2d(self.first(images).relu(), self.weight).relu()
        return self.last(self.second(F.conv_transpose2d(coded, self.weight).relu()).relu().mean((2, 3)))


def test_channels_of_a_weight_that_is_read_along_both_axes_stay():
    network, example = Mirrored().eval(), torch.zeros(2, 3, 10, 10)
    coupling = proven(network, find_coupling(network, example), example)
    assert [group.name for group in coupling.groups] == ["second"]
    assert coupling.whole["weight"] == "its weight is read along both axes"
