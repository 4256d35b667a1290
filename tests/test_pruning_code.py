"""Networks whose own code does more than compute: it keeps, checks and copies, and all of it may be pruned."""

from __future__ import annotations

import torch
from torch import nn

from tests.striped import NOW, one, striped


class Around(nn.Module):
    """A network of two convolutions with a block between them."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.block, self.second = nn.Conv2d(3, 8, 3), block, nn.Conv2d(8, 12, 3)
        self.norm, self.last = nn.BatchNorm2d(12), nn.Linear(12, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.block(self.first(images).relu())
        return self.last(self.norm(self.second(features)).relu().mean((2, 3)))


def test_a_network_from_which_a_hook_keeps_features_is_pruned():
    network = Around(nn.Identity())
    network.block.register_forward_hook(lambda module, given, made: setattr(module, "features", made))
    network(torch.zeros(2, 3, 16, 16))
    assert set(one(network, striped(32), 0.6, settings=NOW).widths) == {"first", "second"}
