"""A small trained network of a caller's own, its images, and one call that prunes it."""

from __future__ import annotations

import torch
from torch import nn

from nasprune.descent import DescentSettings
from nasprune.pruning import prune
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings

QUICK = DescentSettings(
    search=SearchSettings(epochs=2), tuning=TrainingSettings(epochs=8, learning_rate=0.03), growth=0.0
)
NOW = DescentSettings(search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0)


def striped(count):
    """Images whose class is the direction of their stripes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (count,), generator=generator)
    wave = torch.sin(torch.arange(16) * 1.6)
    stripes = torch.where(labels[:, None, None] == 1, wave[None, :, None], wave[None, None, :])
    images = stripes[:, None] + 0.3 * torch.randn(count, 3, 16, 16, generator=generator)
    return [(images[at : at + 16], labels[at : at + 16]) for at in range(0, count, 16)]


def trained_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        for images, labels in striped(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


def one(network, train, budget, **more):
    (pruned,) = prune(network, torch.zeros(2, 3, 16, 16), train, [budget], device="cpu", **more)
    return pruned
