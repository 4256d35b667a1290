"""A coupling tried on the network itself, so that no cut is ever wrong in silence.

The traced graph cannot say which of its constants the network's code computes from shapes and which it holds as
numbers of its own. So every group is cut once, on a copy with weights that all matter, and the smaller network must
give the same logits as the masked one. It must run in training as well, where code may go other ways than those that
were traced.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from nasprune.copying import copy_of
from nasprune.errors import NetworkError
from nasprune.masking import MaskedNetwork
from nasprune.surgery import derive

if TYPE_CHECKING:
    from torch import nn

    from nasprune.coupling import Coupling

_TOLERANCE = 1e-4  # of the largest logit: law 1
_HELD = "the network's own code holds its width as a number"
_TRAINING = "what the network's own code does in training alone holds its width"


def proven(network: nn.Module, coupling: Coupling, example: torch.Tensor) -> Coupling:
    """The coupling with those groups whole that cannot be cut exactly.

    Args:
        network: The network `coupling` was found in; left as it is.
        coupling: To be tried.
        example: (B, bands, H, W), B at least 2; its values do not matter.

    Raises:
        NetworkError: if no group can be cut, or groups that can be cut alone cannot be cut together; or if the network
            makes anything but logits (B, classes), in evaluation or in training.
    """
    trial = lively(network)
    images = torch.rand(example.shape, generator=torch.Generator().manual_seed(5))
    _check_logits(trial, images)
    half = _half(coupling)
    if _fault(trial, coupling, half, images) is None:
        return coupling
    failing = {}
    for group in coupling.groups:
        kept = torch.ones_like(half)
        part = slice(group.start, group.start + group.size)
        kept[part] = half[part]
        fault = _fault(trial, coupling, kept, images)
        if fault is not None:
            failing[group.name] = fault
    if len(failing) < len(coupling.groups):
        rest = coupling.without(failing)
        if _fault(trial, rest, _half(rest), images) is None:
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


def _fault(network: nn.Module, coupling: Coupling, kept: torch.Tensor, images: torch.Tensor) -> str | None:
    """Why this cut is wrong; None where it is exact, and the smaller network runs in training, too."""
    with torch.no_grad():
        masked = MaskedNetwork(network, coupling)(images, kept.float())
        try:
            derived = derive(network, coupling, kept)
            logits = derived(images)
        except Exception:  # whatever the network's own code raises; the dense one has run
            return _HELD
        if not (logits.shape == masked.shape and (logits - masked).abs().max() <= _TOLERANCE * masked.abs().max()):
            return _HELD
        try:
            _in_training(derived, images)
        except Exception:
            return _TRAINING
    return None


def _check_logits(network: nn.Module, images: torch.Tensor) -> None:
    name, count = type(network).__name__, len(images)
    for mode, run in (("evaluation", network), ("training", functools.partial(_in_training, copy_of(network)))):
        try:
            with torch.no_grad():
                made = run(images)
        except Exception as error:  # whatever the network's own code raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise NetworkError(
                f"{name} does not run in {mode} on {count} images: {reason}; expected logits ({count}, classes)"
            ) from error
        if not isinstance(made, torch.Tensor) or made.dim() != 2 or len(made) != count:
            what = f"an output of {tuple(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
            raise NetworkError(
                f"{name} makes {what} in {mode} from {count} images; expected logits ({count}, classes) alone: switch "
                "off what else it makes, as heads for training, or wrap it in a module that gives the logits"
            )


def _in_training(network: nn.Module, images: torch.Tensor) -> object:
    """What a network, which is used up, makes as it is trained; the caller's chance is left alone."""
    with torch.random.fork_rng(devices=[]):
        return network.train()(images)


def lively(network: nn.Module) -> nn.Module:
    """A copy on the CPU in which no channel is idle: fresh networks have scales of 0 or 1e-6."""
    generator = torch.Generator().manual_seed(7)
    copied = copy_of(network).to("cpu", torch.float32).eval()
    with torch.no_grad():
        for module in copied.modules():
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if name == "running_var":
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                elif tensor.is_floating_point() and (tensor.dim() == 1 or bool((tensor.abs() < 1e-4).all())):
                    tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return copied
