"""Plain importance criteria: (C,) from a network as it stands, higher is more important; and how they become scores.

All have one signature, so that each can be a search's starting scores or, with no search at all, the method to
compare with. A channel's importance is the sum over every layer of its group that produces it, since all
its parts leave together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from nasprune.errors import NetworkError, SettingsError
from nasprune.instead import backward
from nasprune.masking import MaskedNetwork
from nasprune.strided import right_gradients
from nasprune.tensors import tensor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasprune.compute import Compute
    from nasprune.cost import Cost
    from nasprune.coupling import Coupling, Layer
    from nasprune.lessons import EpochBatches

Scale = Literal["global", "uniform"]


class Criterion(Protocol):
    """Importance (C,), at least 0, of every channel of a network."""

    def __call__(
        self, network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int
    ) -> torch.Tensor:
        """Importance of each channel; arguments a criterion has no use for are ignored."""
        ...


def taylor(network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int) -> torch.Tensor:
    """First-order change of the loss when a channel goes: mean squared gradient of its mask at 1.

    Molchanov et al. 2019, with the gradient taken for the whole coupled channel at once and squared per batch.
    """
    network.eval()
    masked = MaskedNetwork(network, coupling)
    mask = torch.ones(coupling.channels, device=compute.device, requires_grad=True)
    total = torch.zeros(coupling.channels, device=compute.device)
    right = right_gradients(network.parameters())
    for images, labels in batches.epoch(seed):
        with right, masked.under(mask):
            with compute.autocast():
                logits = network(images)
            backward(F.cross_entropy(logits.float(), labels), mask)
        assert mask.grad is not None  # noqa: S101 (for the type checker)
        total += mask.grad**2
        mask.grad = None
    return total / len(batches)


def l1(network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int) -> torch.Tensor:
    """Sum of absolute filter weights (Li et al. 2017)."""
    return filter_norm(network, coupling)


def filter_norm(network: nn.Module, coupling: Coupling) -> torch.Tensor:
    """`l1`, which needs no images."""
    return _over_producers(network, coupling, lambda weight: weight.abs().sum(1))


def fpgm(network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int) -> torch.Tensor:
    """Sum of distances to all other filters of the layer: far from the geometric median (He et al. 2019)."""
    return _over_producers(network, coupling, lambda weight: torch.cdist(weight, weight).sum(1))


def bn_scale(
    network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int
) -> torch.Tensor:
    """Absolute batch-norm scale (network slimming, Liu et al. 2017).

    Raises:
        NetworkError: if some channels pass no batch norm.
    """
    total = torch.zeros(coupling.channels + 1, device=compute.device)
    seen = torch.zeros(coupling.channels + 1, dtype=torch.bool)
    for layer in coupling.layers:
        if layer.kind == "norm" and layer.weight:
            total.index_add_(0, layer.outputs.to(total.device), _weight(network, layer).abs())
            seen[layer.outputs] = True
    if not bool(seen[:-1].all()):
        group = coupling.groups[int(coupling.group_of[int((~seen[:-1]).nonzero()[0])])]
        raise NetworkError(
            f"criterion bn_scale given, but the channels of {group.name} pass no batch norm; use l1, fpgm or taylor"
        )
    return total[:-1]


def uniform_random(
    network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int
) -> torch.Tensor:
    """Random importance in (0, 1): the floor every criterion has to beat."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(coupling.channels, generator=generator).to(compute.device)


def constant(
    network: nn.Module, coupling: Coupling, batches: EpochBatches, compute: Compute, seed: int
) -> torch.Tensor:
    """The same for every channel: with scale "global", a search that starts from it knows nothing."""
    return torch.ones(coupling.channels, device=compute.device)


CRITERIA: Mapping[str, Criterion] = {
    "taylor": taylor,
    "l1": l1,
    "fpgm": fpgm,
    "bn_scale": bn_scale,
    "random": uniform_random,
    "constant": constant,
}


class Scaling:
    """Makes an importance (C,) comparable across groups: scores (C,) with mean 0 and deviation 1.

    A search asks for this at every step, so what does not change is worked out once, and nothing waits for a GPU.

    Args:
        coupling: The groups.
        cost: Of the groups' widths; on the device of the importance.
        scale: "global" compares the importance as it is, over the marginal cost; "uniform" takes its rank in the
            group instead, so that every group keeps the same share.
        cost_exponent: Of what a channel costs in the network as it stands, by which a global importance is
            divided.

    Raises:
        SettingsError: if the scale is not known.
    """

    def __init__(self, coupling: Coupling, cost: Cost, scale: Scale, cost_exponent: float) -> None:
        if scale not in ("global", "uniform"):
            raise SettingsError(f"scale '{scale}' given; expected global or uniform")
        self._scale = scale
        self._groups = coupling.groups
        group_of = coupling.group_of.to(cost.sizes.device)
        self._offset = cost_exponent * cost.marginal(cost.sizes).log()[group_of]

    def __call__(self, importance: torch.Tensor) -> torch.Tensor:
        """Scores of an importance, which is at least 0; its logarithm keeps their spread sane."""
        if self._scale == "uniform":
            scores = torch.empty_like(importance)
            for group in self._groups:
                part = slice(group.start, group.start + group.size)
                ranks = importance[part].argsort(stable=True).argsort(stable=True)
                scores[part] = (ranks + 0.5) / group.size
        else:
            nothing = importance <= 0
            floor = torch.where(nothing, torch.inf, importance).min()
            floor = torch.where(floor.isinf(), 1.0, floor)
            scores = (torch.where(nothing, floor, importance).double().log() - self._offset).float()
        deviation = scores.std()
        return torch.where(deviation > 1e-6, (scores - scores.mean()) / deviation, torch.ones_like(scores))


def _weight(network: nn.Module, layer: Layer) -> torch.Tensor:
    weight = tensor_of(network, layer.weight).detach().float()
    return weight.transpose(0, 1) if layer.inputs is not None and layer.input_axis == 0 else weight


def _over_producers(network: nn.Module, coupling: Coupling, measure: _Measure) -> torch.Tensor:
    """Sum a measure of (out, rest) filters over all layers that produce a channel."""
    device = next(network.parameters()).device
    total = torch.zeros(coupling.channels + 1, device=device)
    for layer in coupling.layers:
        if layer.weight and layer.kind not in ("norm", "layer_norm"):
            total.index_add_(0, layer.outputs.to(device), measure(_weight(network, layer).flatten(1)))
    return total[:-1]


class _Measure(Protocol):
    def __call__(self, weight: torch.Tensor, /) -> torch.Tensor: ...
