"""A coupling tried on the network itself, so that no cut is ever wrong in silence.

The traced graph cannot say which of its constants the network's code computes from shapes and which it holds as
numbers of its own. So every group is cut once, on a copy with weights that all matter, and the smaller network must
give the same logits as the masked one.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from nasprune.errors import NetworkError
from nasprune.masking import MaskedNetwork
from nasprune.surgery import derive

if TYPE_CHECKING:
    from torch import nn

    from nasprune.coupling import Coupling

_TOLERANCE = 1e-4  # of the largest logit: law 1


def proven(network: nn.Module, coupling: Coupling, example: torch.Tensor) -> Coupling:
    """The coupling with those groups whole that cannot be cut exactly.

    Args:
        network: The network `coupling` was found in; left as it is.
        coupling: To be tried.
        example: (B, C, H, W), B at least 2; its values do not matter.

    Raises:
        NetworkError: if no group can be cut, or groups that can be cut alone cannot be cut together.
    """
    trial = lively(network)
    images = torch.rand(example.shape, generator=torch.Generator().manual_seed(5))
    half = _half(coupling)
    if _exact(trial, coupling, half, images):
        return coupling
    failing = {}
    for group in coupling.groups:
        kept = torch.ones_like(half)
        part = slice(group.start, group.start + group.size)
        kept[part] = half[part]
        if not _exact(trial, coupling, kept, images):
            failing[group.name] = "the network's own code holds its width as a number"
    if len(failing) < len(coupling.groups):
        rest = coupling.without(failing)
        if _exact(trial, rest, _half(rest), images):
            return rest
    names = ", ".join(list(failing)[:5]) or "groups that can be cut alone"
    raise NetworkError(
        f"{type(network).__name__} cannot be cut exactly at {names}: its code does not work on what is left; "
        "let it take widths from the shapes of its weights, or prune another network"
    )


def _half(coupling: Coupling) -> torch.Tensor:
    """(C,) bool: half of every group, at random."""
    order = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(6))
    kept = torch.zeros(coupling.channels, dtype=torch.bool)
    for group in coupling.groups:
        kept[group.start + order[group.start : group.start + group.size].argsort()[: (group.size + 1) // 2]] = True
    return kept


def _exact(network: nn.Module, coupling: Coupling, kept: torch.Tensor, images: torch.Tensor) -> bool:
    with torch.no_grad():
        masked = MaskedNetwork(network, coupling)(images, kept.float())
        try:
            logits = derive(network, coupling, kept)(images)
        except (RuntimeError, ValueError, IndexError):  # what torch says of shapes that do not fit
            return False
    return bool(logits.shape == masked.shape and (logits - masked).abs().max() <= _TOLERANCE * masked.abs().max())


def lively(network: nn.Module) -> nn.Module:
    """A copy on the CPU in which no channel is idle: fresh networks have scales of 0 or 1e-6."""
    generator = torch.Generator().manual_seed(7)
    copied = copy.deepcopy(network).to("cpu", torch.float32).eval()
    with torch.no_grad():
        for module in copied.modules():
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if name == "running_var":
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                elif tensor.is_floating_point() and (tensor.dim() == 1 or bool((tensor.abs() < 1e-4).all())):
                    tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return copied
