"""Kept channels -> a smaller network: rows and columns leave the weights for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from nasprune.copying import copy_of
from nasprune.tensors import tensor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasprune.coupling import Coupling


def derive(network: nn.Module, coupling: Coupling, kept: torch.Tensor) -> nn.Module:
    """A copy of `network` without the channels that `kept` leaves out.

    Args:
        network: The network `coupling` was found in; left as it is.
        coupling: Its groups, layers and axes.
        kept: (C,) bool, at least one channel in every group.
    """
    stays = torch.cat([kept.detach().cpu(), torch.ones(1, dtype=torch.bool)])
    slices: dict[str, dict[int, torch.Tensor]] = {}
    for axis in coupling.axes:
        slices.setdefault(axis.tensor, {})[axis.axis] = stays[axis.channels].nonzero().flatten()
    with torch.no_grad():
        smaller = {name: _sliced(tensor_of(network, name), places) for name, places in slices.items()}
    # Copied around the tensors that change, which may be most of the memory.
    memo = {id(tensor_of(network, name)): tensor for name, tensor in smaller.items()}
    derived = copy_of(network, memo)
    fewer_groups = {id(tensor_of(network, layer.weight)) for layer in coupling.layers if layer.kind == "depthwise"}
    for module, before in zip(derived.modules(), network.modules(), strict=True):  # tied weights: in several modules
        own = (*before.parameters(recurse=False), *before.buffers(recurse=False))
        if any(id(tensor) in memo for tensor in own):
            _describe(module, before, id(getattr(before, "weight", None)) in fewer_groups)
    for layer in coupling.layers:
        if layer.kind == "norm" and not layer.weight:
            module, before = derived.get_submodule(layer.name), network.get_submodule(layer.name)
            _describe_norm(module, before, int(stays[layer.outputs].sum()), len(layer.outputs))
    return derived


def _sliced(tensor: torch.Tensor, places: Mapping[int, torch.Tensor]) -> torch.Tensor:
    values = tensor.detach()
    for axis, chosen in places.items():
        values = values.index_select(axis, chosen.to(values.device))
    if values.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        values = values.contiguous(memory_format=torch.channels_last)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, requires_grad=tensor.requires_grad)
    return values


def _describe(module: nn.Module, before: nn.Module, fewer_groups: bool) -> None:
    """Bring a module's own account of its shapes in line with its weights.

    Convolutions compute with their `groups` and layer norms with their `normalized_shape`; the rest is for readers.
    Whether whole groups of a convolution leave (`fewer_groups`) was decided for the dense network: the shape of a
    weight that has been cut before may say otherwise.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        module.out_channels = weight.shape[0]
        if fewer_groups:
            module.groups = module.groups * len(weight) // len(tensor_of(before, "weight"))
        module.in_channels = weight.shape[1] * module.groups
    elif isinstance(module, nn.ConvTranspose2d):
        module.in_channels, module.out_channels = weight.shape[:2]
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.GroupNorm):
        _describe_norm(module, before, len(weight), len(tensor_of(before, "weight")))
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(weight)
    elif hasattr(module, "num_features"):
        module.num_features = len(weight)  # type: ignore[assignment]


def _describe_norm(module: nn.Module, before: nn.Module, channels: int, of: int) -> None:
    if isinstance(module, nn.GroupNorm) and isinstance(before, nn.GroupNorm):
        module.num_groups, module.num_channels = before.num_groups * channels // of, channels
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = channels
