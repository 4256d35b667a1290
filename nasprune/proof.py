"""A coupling tried on the network itself, so that no cut is ever wrong in silence.

The traced graph cannot say which of its constants the network's code computes from shapes and which it holds as
numbers of its own. So every group is cut once, on a copy with weights that all matter, and the smaller network must
give the same logits as the masked one. It must run in training as well, where code may go other ways than those that
were traced.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from nasprune.copying import copy_of
from nasprune.errors import NetworkError, first_line
from nasprune.instead import Instead
from nasprune.masking import MaskedNetwork
from nasprune.surgery import derive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nasprune.coupling import Coupling

_TOLERANCE = 1e-4  # of the largest logit: law 1
_HELD = "the network's own code holds its width as a number"
_TRAINING = "what the network's own code does in training alone holds its width"
_IDLE = 1e-4
_LAYERS: tuple[Callable[..., torch.Tensor], ...] = (
    torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    F.linear,
)  # fmt: skip


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
    copied = lively(network)
    images = torch.rand(example.shape, generator=torch.Generator().manual_seed(5))
    _check_logits(copied, images)
    copies = (copied, levelled(copy_of(copied), images))
    half = _half(coupling)
    if _fault(copies, coupling, half, images) is None:
        return coupling
    failing = {}
    for group in coupling.groups:
        kept = torch.ones_like(half)
        part = slice(group.start, group.start + group.size)
        kept[part] = half[part]
        fault = _fault(copies, coupling, kept, images)
        if fault is not None:
            failing[group.name] = fault
    if len(failing) < len(coupling.groups):
        rest = coupling.without(failing)
        if _fault(copies, rest, _half(rest), images) is None:
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


def _fault(networks: Iterable[nn.Module], coupling: Coupling, kept: torch.Tensor, images: torch.Tensor) -> str | None:
    """Why this cut is wrong in one of them; None where it is exact, and the smaller network runs in training, too."""
    for network in networks:
        with torch.no_grad():
            try:
                derived = derive(network, coupling, kept)
                logits = derived(images)
            except Exception:  # whatever the network's own code raises; the dense one has run
                return _HELD
            # Masked last, from what the cut one began with: a pass may change a network's buffers.
            masked = MaskedNetwork(network, coupling)(images, kept.float())
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
            raise NetworkError(
                f"{name} does not run in {mode} on {count} images: {first_line(error)}; "
                f"expected logits ({count}, classes)"
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
    """A copy on the CPU in which no channel is idle: fresh networks have scales of 0 or 1e-6.

    What is positive stays so, since a network's code may divide by it or take its logarithm.
    """
    generator = torch.Generator().manual_seed(7)
    copied = copy_of(network).to("cpu", torch.float32).eval()
    with torch.no_grad():
        for tensor in (*copied.parameters(), *copied.buffers()):
            if not tensor.is_floating_point():
                continue
            idle = tensor.abs() < _IDLE
            if tensor.dim() == 1 or bool(idle.all()):
                noise = 0.1 * torch.randn(tensor.shape, generator=generator)
                start = noise if bool((tensor < 0).any()) else noise.abs()
                tensor.copy_(torch.where(idle, start, tensor * (1 + noise)))
    return copied


def levelled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """The network, changed in such a way that what its first layers do is not lost in its last.

    Signals that fade from layer to layer, for weights that are small or statistics of another network's, end below the
    rounding of the logits, and with them whatever a cut does wrong. So the weights of a layer that makes less than unit
    signals are scaled, and batch norms take the statistics of these images (B, bands, H, W).
    """
    with torch.no_grad(), ExitStack() as stack:
        stack.enter_context(Instead(torch.batch_norm, _with_own_statistics))
        for layer in _LAYERS:
            stack.enter_context(Instead(layer, functools.partial(_at_unit_scale, layer)))
        network(images)
    return network


def _at_unit_scale(
    layer: Callable[..., torch.Tensor],
    input: torch.Tensor,  # noqa: A002 (torch's own name, by which it may be given)
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *how: object,
    **more: object,
) -> torch.Tensor:
    size = layer(input, weight, None, *how, **more).square().mean().sqrt()
    if isinstance(weight, nn.Parameter) and 0 < float(size) < 1:
        weight.div_(size)
    return layer(input, weight, bias, *how, **more)


def _with_own_statistics(
    input: torch.Tensor,  # noqa: A002 (as above)
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    *how: object,
    **more: object,
) -> torch.Tensor:
    if running_mean is not None and running_var is not None:
        axes = [axis for axis in range(input.dim()) if axis != 1]
        running_mean.copy_(input.mean(axes))
        spread = input.var(axes, correction=0)
        running_var.copy_(spread.clamp(min=0.01 * float(spread.mean())))  # none so small that rounding would grow
    return torch.batch_norm(input, weight, bias, running_mean, running_var, *how, **more)  # type: ignore[arg-type]
