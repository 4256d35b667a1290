"""Networks whose own code does more than compute: it keeps, checks and copies, and all of it may be pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from nasprune.coupling import find_coupling
from tests.striped import NOW, one, striped

if TYPE_CHECKING:
    from collections.abc import Callable


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


class Keeping(nn.Module):
    """Keeps the map that it made of the last images."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.map = self.convolution(features).sigmoid()
        return features * self.map


class Caching(nn.Module):
    """Makes a buffer when it sees the first images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positions", None, persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if self.positions is None or self.positions.shape != features.shape[2:]:
            self.positions = torch.linspace(0, 1, features.shape[3]).expand(features.shape[2:])
        return features + self.positions


@pytest.mark.parametrize("block", [Keeping, Caching])
def test_tracing_leaves_nothing_in_a_network_that_keeps_things(block):
    network = Around(block())
    before = [dict(vars(module)) | dict(module.named_buffers()) for module in network.modules()]
    find_coupling(network, torch.zeros(2, 3, 16, 16))
    after = [dict(vars(module)) | dict(module.named_buffers()) for module in network.modules()]
    assert [each.keys() for each in after] == [each.keys() for each in before]
    assert all(now[name] is was[name] for now, was in zip(after, before, strict=True) for name in was)
    assert set(one(network, striped(32), 0.6, settings=NOW).widths) == {"first", "second"}


class Indexing(nn.Module):
    """Has a parameter of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.arange(14).flip(0), requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :, self.rows]


def test_a_parameter_of_whole_numbers_stays_as_it_is():
    pruned = one(Around(Indexing()), striped(32), 0.6, settings=NOW)
    assert torch.equal(pruned.network.block.rows, torch.arange(14).flip(0))
    assert pruned.network.second.out_channels < 12


class Checking(nn.Module):
    """Holds its width as a number, in the way it is given."""

    def __init__(self, check: Callable[[int], object]) -> None:
        super().__init__()
        self.check = check

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.check(features.shape[1])
        return features


def asserts(width: int) -> None:
    assert width == 8


@pytest.mark.parametrize("check", [asserts, lambda width: 1 / (width // 5), {8: "known"}.__getitem__])
def test_channels_whose_number_the_code_checks_stay(check):
    pruned = one(Around(Checking(check)), striped(32), 0.8, settings=NOW)
    assert pruned.whole["first"] == "the network's own code holds its width as a number"
    assert set(pruned.widths) == {"second"}
