"""A network of a user's own: what takes its time with a larger one is the same for all, and tested elsewhere."""

from __future__ import annotations

from torch import nn

NAME = "tests.system.own:network"
"""As `--network` takes it, with the project's root on the Python path."""


def network(num_classes: int) -> nn.Module:
    """Three convolutions."""
    layers: list[nn.Module] = []
    for given, made, stride in ((3, 16, 2), (16, 24, 2), (24, 32, 1)):
        layers += [nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))
