"""Kept channels -> a smaller network: rows and columns leave the weights for good."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from nasprune.coupling import Coupling


def derive(network: nn.Module, coupling: Coupling, kept: torch.Tensor) -> nn.Module:
    """A copy of `network` without the channels that `kept` leaves out.

    Args:
        network: The network `coupling` was found in; left as it is.
        coupling: Its groups and layers.
        kept: (C,) bool, at least one channel in every group.
    """
    derived = copy.deepcopy(network)
    padded = torch.cat([kept.detach().cpu(), torch.ones(1, dtype=torch.bool)])
    for layer in coupling.layers:
        module = derived.get_submodule(layer.name)
        rows = padded[layer.outputs].nonzero().flatten()
        columns = None if layer.inputs is None else padded[layer.inputs].nonzero().flatten()
        _slice(module, rows, columns)
    return derived


def _slice(module: nn.Module, rows: torch.Tensor, columns: torch.Tensor | None) -> None:
    """Keep only these rows (outputs) and columns (inputs) of a module's weights, in place."""
    for name, parameter in module.named_parameters(recurse=False):
        values = parameter.detach().index_select(0, rows.to(parameter.device))
        if name == "weight" and columns is not None:
            values = values.index_select(1, columns.to(parameter.device))
        setattr(module, name, nn.Parameter(values, requires_grad=parameter.requires_grad))
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.dim():  # a norm's statistics; its count of batches is a scalar
            setattr(module, name, buffer.index_select(0, rows.to(buffer.device)))
    if isinstance(module, nn.Conv2d):
        module.out_channels = len(rows)
        if columns is None:
            module.in_channels = module.groups = len(rows)
        else:
            module.in_channels = len(columns)
    elif isinstance(module, nn.Linear):
        module.out_features = len(rows)
        if columns is not None:
            module.in_features = len(columns)
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(rows)
