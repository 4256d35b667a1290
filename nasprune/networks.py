"""Name, head and widths -> a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from nasprune.coupling import Coupling, find_coupling
from nasprune.errors import NetworkError, SettingsError
from nasprune.surgery import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADS = ("original", "pooled")


def _resnet10(*, num_classes: int) -> nn.Module:
    """One basic block a stage: the smallest residual network of torchvision's own building blocks."""
    return cast("nn.Module", ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes))


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "resnet10": _resnet10,
    "resnet18": models.resnet18,
    "resnet34": models.resnet34,
    "resnet50": models.resnet50,
    "vgg16": models.vgg16,
    "vgg16_bn": models.vgg16_bn,
}


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network, before any pruning.

    Attributes:
        network: A name from `BUILDERS`.
        head: "original", or "pooled" to replace VGG's three linear layers (most of its parameters) by
            global average pooling and one linear layer. Residual networks are pooled as they are.
        classes: Number of classes.
        image_size: Side of the square input in pixels; MACs and flattened heads depend on it.
    """

    network: str
    head: str = "original"
    classes: int
    image_size: int

    def __post_init__(self) -> None:
        if self.network not in BUILDERS:
            raise SettingsError(f"network '{self.network}' given; expected one of {', '.join(BUILDERS)}")
        if self.head not in HEADS:
            raise SettingsError(f"head '{self.head}' given; expected one of {', '.join(HEADS)}")
        if self.classes < 2:
            raise SettingsError(f"{self.classes} classes given; expected at least 2")
        least = 32 if self.network.startswith("vgg") else 16
        if self.image_size < least:
            raise SettingsError(
                f"image size {self.image_size} given; {self.network} halves it down to nothing: "
                f"expected at least {least}"
            )


def build(settings: NetworkSettings, *, seed: int = 0) -> nn.Module:
    """The dense network with its initial weights, drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BUILDERS[settings.network](num_classes=settings.classes)
        if settings.head == "pooled" and isinstance(network, models.VGG):
            network.avgpool = nn.AdaptiveAvgPool2d(1)
            network.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, settings.classes))
    return network


def couple(network: nn.Module, settings: NetworkSettings) -> Coupling:
    """The groups of a network, traced at the image size of its settings."""
    device = next(network.parameters()).device
    size = settings.image_size
    return find_coupling(network, torch.zeros(2, 3, size, size, device=device))


def build_with_widths(settings: NetworkSettings, widths: Mapping[str, int]) -> nn.Module:
    """The network at these widths, its weights to be loaded by the caller.

    Raises:
        NetworkError: if the widths do not belong to this network.
    """
    with torch.device("meta"):  # shapes only: initial weights would be drawn for nothing
        network = build(settings)
    coupling = couple(network, settings)
    try:
        kept = coupling.first_channels(widths)
    except ValueError as error:
        raise NetworkError(f"widths given do not fit {settings.network}: {error}") from error
    return derive(network, coupling, kept).to_empty(device="cpu")


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(parameter.numel() for parameter in network.parameters())


def last_linear(network: nn.Module) -> str:
    """Dotted name of the layer that makes the logits, in all networks here the last linear one."""
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1]
