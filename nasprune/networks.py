"""Name, head and widths -> a module."""

from __future__ import annotations

import importlib
import inspect
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet

from nasprune.coupling import Coupling, find_coupling
from nasprune.errors import NetworkError, SettingsError
from nasprune.proof import proven
from nasprune.surgery import derive
from nasprune.undrawn import Undrawn

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADS = ("original", "pooled")
RESNET10 = "resnet10"
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}  # heads that only serve training
_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {"googlenet": _WITHOUT_AUXILIARY, "inception_v3": _WITHOUT_AUXILIARY}


def torchvision_names() -> list[str]:
    """All classification networks of torchvision."""
    return cast("list[str]", models.list_models(module=models))


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """Which network, before any pruning.

    Attributes:
        network: "resnet10", a name of torchvision's, "timm:NAME", or "package.module:function", a function that
            takes `num_classes`, and `in_channels` if it likes, and returns a module.
        head: "original", or "pooled" to replace VGG's three linear layers (most of its parameters) by
            global average pooling and one linear layer. Residual networks are pooled as they are.
        classes: Number of classes.
        image_size: Side of the square input in pixels; MACs and flattened heads depend on it.
        bands: Of the input. A network that is made for three gets another first convolution.
    """

    network: str
    head: str = "original"
    classes: int
    image_size: int
    bands: int = 3

    def __post_init__(self) -> None:
        if ":" not in self.network and self.network != RESNET10 and self.network not in torchvision_names():
            raise SettingsError(
                f"network '{self.network}' given; expected resnet10, a classification network of torchvision "
                "(resnet18, resnet34, vgg16_bn, mobilenet_v3_small, ...), timm:NAME or package.module:function"
            )
        if self.head not in HEADS:
            raise SettingsError(f"head '{self.head}' given; expected one of {', '.join(HEADS)}")
        if self.head == "pooled" and not self.network.startswith("vgg"):
            raise SettingsError(f"head 'pooled' given with {self.network}; it is for VGG networks, use original")
        if self.bands < 1:
            raise SettingsError(f"{self.bands} bands given; expected at least 1")
        if self.classes < 2:
            raise SettingsError(f"{self.classes} classes given; expected at least 2")
        least = 32 if self.network.startswith("vgg") else 16
        if self.image_size < least:
            raise SettingsError(
                f"image size {self.image_size} given; {self.network} halves it down to nothing: "
                f"expected at least {least}"
            )


def build(settings: NetworkSettings, *, seed: int = 0) -> nn.Module:
    """The dense network with its initial weights, drawn from `seed`.

    Raises:
        SettingsError: if there is no such network, or not for as many bands.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _build(settings.network, settings.classes, settings.bands)
        if settings.head == "pooled" and isinstance(network, models.VGG):
            network.avgpool = nn.AdaptiveAvgPool2d(1)
            network.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, settings.classes))
    return network


def _build(name: str, classes: int, bands: int) -> nn.Module:
    if name == RESNET10:  # one basic block a stage: the smallest network of torchvision's own residual blocks
        return _taking(bands, cast("nn.Module", ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes)), name)
    source, colon, rest = name.partition(":")
    if not colon:
        made = models.get_model(name, num_classes=classes, **_ARGUMENTS.get(name, {}))
        return _taking(bands, cast("nn.Module", made), name)
    return _from_timm(rest, classes, bands) if source == "timm" else _from_function(source, rest, classes, bands)


def _from_timm(name: str, classes: int, bands: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise SettingsError(
            f"network 'timm:{name}' given, but timm is not installed; run with uv run --extra timm, or pip install timm"
        ) from error
    try:
        more: dict[str, Any] = {} if bands == 3 else {"in_chans": bands}
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **more)
    except RuntimeError as error:
        raise SettingsError(f"network 'timm:{name}' given, but timm says: {error}; see timm.list_models()") from error
    return network


def _from_function(module: str, function: str, classes: int, bands: int) -> nn.Module:
    given = f"network '{module}:{function}' given"
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise SettingsError(f"{given}, but {error}; expected package.module:function on the Python path") from error
    try:
        takes = inspect.signature(make).parameters
        known = {"num_classes": classes, "in_channels": bands}
        network = make(**{key: value for key, value in known.items() if key in takes})
    except Exception as error:  # it is the user's code, which may raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise SettingsError(
            f"{given}, but calling it failed: {' '.join(str(error).split()) or type(error).__name__} "
            f"({where.filename}:{where.lineno}); expected a function of num_classes"
        ) from error
    if not isinstance(network, nn.Module):
        raise SettingsError(f"{given}, which returned {type(network).__name__}; expected a torch.nn.Module")
    return _taking(bands, network, f"{module}:{function}")


def _taking(bands: int, network: nn.Module, name: str) -> nn.Module:
    """The network with a first convolution that takes so many bands, where it takes three now.

    New weights have the deviation of the old ones, but for sqrt(3 / bands): sums over bands stay as large.
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if bands == 3 or first is None or first.in_channels == bands:  # if it does not fit, tracing says so
        return network
    if type(first) is not nn.Conv2d or first.in_channels != 3 or first.groups != 1:
        raise SettingsError(
            f"network '{name}' given with images of {bands} bands, but its first convolution takes "
            f"{first.in_channels}; expected a network for 3 or {bands} bands, or a function that takes in_channels"
        )
    with torch.no_grad():
        first.weight = nn.Parameter(
            torch.randn(first.out_channels, bands, *first.kernel_size, device=first.weight.device)
            * first.weight.std() * (3 / bands) ** 0.5
        )  # fmt: skip
    first.in_channels = bands
    return network


def _example(settings: NetworkSettings, network: nn.Module) -> torch.Tensor:
    device = next(network.parameters()).device
    return torch.zeros(2, settings.bands, settings.image_size, settings.image_size, device=device)


def couple(network: nn.Module, settings: NetworkSettings) -> Coupling:
    """The groups of a dense network, traced at the image size of its settings and tried on a copy of it.

    Raises:
        NetworkError: if it cannot be pruned, or makes other logits than its settings have classes.
    """
    example = _example(settings, network)
    coupling = proven(network, find_coupling(network, example), example)
    training = network.training
    with torch.no_grad():
        logits = network.eval()(example)
    network.train(training)
    if logits.shape != (2, settings.classes):
        raise NetworkError(
            f"{settings.network} makes an output of {tuple(logits.shape)} from 2 images; expected (2, "
            f"{settings.classes}), one logit a class"
        )
    return coupling


def build_with_widths(settings: NetworkSettings, widths: Mapping[str, int]) -> nn.Module:
    """The network at these widths, its weights to be loaded by the caller.

    Buffers, and tensors that its modules hold as plain attributes, are as its code makes them.

    Raises:
        NetworkError: if the widths do not belong to this network.
    """
    with Undrawn():
        network = build(settings)
    coupling = find_coupling(network, _example(settings, network))
    if any(group.name not in widths for group in coupling.groups):  # are these the ones that cannot be cut?
        coupling = couple(build(settings), settings)
    try:
        kept = coupling.first_channels(widths)
    except ValueError as error:
        raise NetworkError(f"widths given do not fit {settings.network}: {error}") from error
    return derive(network, coupling, kept)


def count_parameters(network: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(parameter.numel() for parameter in network.parameters())
