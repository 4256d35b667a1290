"""Initial weights: from scratch, from a file, or torchvision's ImageNet weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from nasprune.errors import ArtifactError, SettingsError, first_line
from nasprune.state import load_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

SCRATCH, IMAGENET = "scratch", "imagenet"

# torchvision's own files are pickles. The same weights (its first ImageNet release) are kept as safetensors here.
_REPOSITORIES = {name: f"timm/{name}.tv_in1k" for name in ("resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn")}
# There VGG's hidden linear layers are stored as the convolutions they are equal to.
_VGG_HEAD = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}


def check_published(network: str) -> None:
    """Make sure that there are ImageNet weights for a network.

    Raises:
        SettingsError: if not.
    """
    if network not in _REPOSITORIES:
        raise SettingsError(
            f"weights 'imagenet' given for {network}; expected scratch, a safetensors file, or a network that they are "
            f"published for: {', '.join(_REPOSITORIES)}"
        )


def load_initial_weights(network: nn.Module, name: str, source: str, *, endpoint: str | None = None) -> None:
    """Load `source` into `network` in place; "scratch" leaves it as it was built.

    The layer that makes the logits stays as built where it has another number of classes. Where the network takes
    another number of bands than three, the first layer has for each of them the mean of those of red, green and blue,
    times 3 / bands, so that sums over bands stay as large.

    Args:
        network: Dense, as built.
        name: The network's name, for "imagenet".
        source: "scratch", "imagenet", or the path of a safetensors file.
        endpoint: Another Hugging Face endpoint, for mirrors.

    Raises:
        SettingsError: if `source` is none of these, or there are no ImageNet weights for the network.
        ArtifactError: if the weights cannot be had, or do not fit.
    """
    if source == SCRATCH:
        return
    path = _download(name, endpoint) if source == IMAGENET else Path(source)
    if not path.is_file():
        raise SettingsError(f"weights '{source}' given; expected scratch, imagenet or a safetensors file that exists")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} is not a readable safetensors file ({error})") from error
    if source == IMAGENET:
        weights = _torchvision_names(weights, network)
    own = network.state_dict()
    for key in _head(own):
        if key not in weights or weights[key].shape != own[key].shape:
            weights[key] = own[key]
    for key, value in own.items():
        given = weights.get(key, value)
        if given.shape != value.shape and given.dim() == 4 and given.shape[1] == 3:
            bands = value.shape[1]
            weights[key] = given.mean(1, keepdim=True).mul(3 / bands).repeat(1, bands, 1, 1)
    weights |= {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    try:
        load_tensors(network, weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"weights in {path} do not fit {name}: {reason}") from error


def _head(own: Mapping[str, torch.Tensor]) -> list[str]:
    """Weight and bias of the layer that makes the logits: the last one with more than a vector's worth of weights."""
    weight = [name for name, value in own.items() if value.dim() > 1][-1]
    bias = weight.removesuffix("weight") + "bias"
    return [weight, bias] if bias in own else [weight]


def _download(name: str, endpoint: str | None) -> Path:
    check_published(name)
    try:
        return Path(hf_hub_download(_REPOSITORIES[name], "model.safetensors", endpoint=endpoint, token=False))
    # Of a transfer the library lets httpx's errors through; an ImportError or ValueError is of a proxy of the
    # environment that cannot be used. Its own errors are OSErrors.
    except (OSError, httpx.HTTPError, ImportError, ValueError) as error:
        raise ArtifactError(
            f"ImageNet weights of {name} could not be downloaded from {_REPOSITORIES[name]}: "
            f"{first_line(error)}; check the connection, or give a safetensors file"
        ) from error


def _torchvision_names(weights: Mapping[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Under torchvision's names and shapes, without what this network's head has no place for."""
    own = network.state_dict()
    renamed = {}
    for key, value in weights.items():
        module, _, kind = key.rpartition(".")
        target = f"{_VGG_HEAD.get(module, module)}.{kind}"
        if target in own:
            flat = module in _VGG_HEAD and kind == "weight"
            renamed[target] = value.flatten(1) if flat else value
    return renamed
