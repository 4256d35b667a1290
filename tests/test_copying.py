"""A copy of a network is the network, whatever its code keeps and however its modules copy themselves."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from nasprune.copying import copy_of


class Keeping(nn.Module):
    """Keeps what it made of the last images, in every way that code does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.kept: dict[str, list[torch.Tensor]] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.map = self.first(images).relu()
        self.kept["maps"] = [self.map, self.map.mean((2, 3))]
        return self.last(self.kept["maps"][1])


def test_a_copy_has_its_own_of_what_the_network_keeps_of_its_last_images():
    network = Keeping()
    network(torch.randn(2, 3, 5, 5))
    copied = copy_of(network)
    assert torch.equal(copied.map, network.map)
    assert copied.kept["maps"][0] is copied.map is not network.map
    assert copied.map.data_ptr() != network.map.data_ptr()
    assert all(map(torch.equal, copied.parameters(), network.parameters()))
    copied(torch.randn(2, 3, 5, 5)).sum().backward()
    assert all(weight.grad is None for weight in network.parameters())


def test_a_copy_is_made_around_what_is_given_for_a_tensor():
    network, other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Parameter(torch.zeros(2, 2))
    network[1].weight = network[0].weight
    copied = copy_of(network, {id(network[0].weight): other})
    assert copied[0].weight is copied[1].weight is other


def test_every_module_of_a_copy_is_in_the_mode_of_its_own():
    network = nn.Sequential(create_feature_extractor(resnet18(), {"layer1": "features"}), nn.Dropout()).eval()
    network[0].bn1.train()
    copied = copy_of(network)
    assert [each.training for each in copied.modules()] == [each.training for each in network.modules()]
    network[0].bn1.eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(copy_of(network)[0](images)["features"], network[0](images)["features"])
