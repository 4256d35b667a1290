"""A network of a user's own: what takes its time with a larger one is the same for all, and tested elsewhere."""

from __future__ import annotations

from torch import nn

NAME = "tests.system.own:network"
"""As `--network` takes it, with the project's root on the Python path."""
WIDE = "tests.system.own:wide"
"""Where times are measured."""


def network(num_classes: int) -> nn.Module:
    """Three convolutions."""
    return _convolutions(16, 24, 32, num_classes)


def wide(num_classes: int) -> nn.Module:
    """The same, wide enough for its latency to be its arithmetic's, whatever else the machine does."""
    return _convolutions(32, 96, 96, num_classes)


def _convolutions(first: int, second: int, third: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for given, made, stride in ((3, first, 2), (first, second, 2), (second, third, 1)):
        layers += [nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(third, classes))
