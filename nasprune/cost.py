"""What a network costs as a function of its widths: exact for whole channels, differentiable for masks."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from nasprune.coupling import Coupling


class Cost(Protocol):
    """What a budget is a share of, as a function of the G group widths; it never falls as they grow."""

    @property
    def sizes(self) -> torch.Tensor:
        """(G,) widths of the network that was traced."""
        ...

    @property
    def full(self) -> float:
        """The cost at these sizes: of the dense network, or of the smaller one that a descent has reached."""
        ...

    def __call__(self, widths: torch.Tensor) -> torch.Tensor:
        """Cost of (..., G) widths, which may be fractions; float64 (...,), differentiable."""
        ...

    def marginal(self, widths: torch.Tensor) -> torch.Tensor:
        """(G,) cost of one more channel of each group at these widths, above 0."""
        ...

    def to(self, device: torch.device) -> Cost:
        """The same cost with its tensors on `device`."""
        ...


@dataclass(frozen=True, kw_only=True)
class QuadraticCost:
    """MACs of one image, or parameters, as a quadratic form of the G group widths.

    Layer l costs `multiply_adds[l] * (inputs[l] @ w + fixed_inputs[l]) * (outputs[l] @ w + fixed_outputs[l])`:
    every pair of an input and an output channel costs the kernel's elements at every output position.

    Attributes:
        multiply_adds: (L,) per pair of channels.
        inputs: (L, G) input channels each kept channel of a group brings (a flattened map: its pixels).
        fixed_inputs: (L,) input channels that are never pruned; 1 where a channel only meets itself.
        outputs: (L, G) the same for output channels.
        fixed_outputs: (L,)
        sizes: (G,) widths of the network that was traced.
        full: The cost at these sizes: of the dense network, or of the smaller one that a descent has reached.
    """

    multiply_adds: torch.Tensor
    inputs: torch.Tensor
    fixed_inputs: torch.Tensor
    outputs: torch.Tensor
    fixed_outputs: torch.Tensor
    sizes: torch.Tensor
    full: int

    def __call__(self, widths: torch.Tensor) -> torch.Tensor:
        """Cost of (..., G) widths, which may be fractions; float64 (...,), differentiable."""
        widths = widths.to(torch.float64)
        given = widths @ self.inputs.T + self.fixed_inputs
        made = widths @ self.outputs.T + self.fixed_outputs
        return (given * made) @ self.multiply_adds

    def marginal(self, widths: torch.Tensor) -> torch.Tensor:
        """(G,) cost of one more channel of each group at these widths: the gradient."""
        widths = widths.detach().to(torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(self(widths), widths)
        return gradient

    def to(self, device: torch.device) -> QuadraticCost:
        """The same cost with its tensors on `device`."""
        tensors = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self) if f.name != "full"}
        return dataclasses.replace(self, **tensors)


def macs_cost(coupling: Coupling) -> QuadraticCost:
    """The MACs of the network behind `coupling`, at the image size it was traced with."""
    layers = [layer for layer in coupling.layers if layer.multiply_adds]
    terms = [(layer.outputs, layer.inputs, layer.fixed_inputs) for layer in layers]
    return _quadratic(coupling, [layer.multiply_adds for layer in layers], terms)


def params_cost(coupling: Coupling, network: nn.Module) -> QuadraticCost:
    """The trainable numbers of `network`, which `coupling` was found in."""
    axes: dict[str, dict[int, torch.Tensor]] = {}
    for axis in coupling.axes:
        axes.setdefault(axis.tensor, {})[axis.axis] = axis.channels
    factors: list[int] = []
    terms: list[Term] = []
    for name, parameter in network.named_parameters():
        along = axes.get(name, {})
        rest = math.prod(side for axis, side in enumerate(parameter.shape) if axis not in along)
        vectors = [*along.values(), torch.tensor([coupling.channels])][:2]
        outputs, inputs = vectors if len(vectors) == 2 else (vectors[0], None)
        factors.append(rest)
        terms.append((outputs, inputs, 1))
    return _quadratic(coupling, factors, terms)


Term = tuple[torch.Tensor, "torch.Tensor | None", int]
"""Output channels of what costs something, its input channels, and how many there are where these have no numbers."""


def by_group(coupling: Coupling, terms: Sequence[Term]) -> dict[str, torch.Tensor]:
    """The channels of L terms as every cost holds them, float64.

    Returns:
        (L, G) `inputs` and `outputs`, (L,) `fixed_inputs` and `fixed_outputs`, (G,) `sizes`; see `QuadraticCost`.
    """
    inputs, outputs = torch.zeros(2, len(terms), len(coupling.groups), dtype=torch.float64)
    fixed_inputs, fixed_outputs = torch.zeros(2, len(terms), dtype=torch.float64)
    for row, (made, given, fixed) in enumerate(terms):
        outputs[row], fixed_outputs[row] = _per_group(coupling, made)
        if given is None:
            fixed_inputs[row] = fixed
        else:
            inputs[row], fixed_inputs[row] = _per_group(coupling, given)
    return {
        "inputs": inputs,
        "fixed_inputs": fixed_inputs,
        "outputs": outputs,
        "fixed_outputs": fixed_outputs,
        "sizes": torch.tensor([group.size for group in coupling.groups], dtype=torch.float64),
    }


def _quadratic(coupling: Coupling, factors: Sequence[int], terms: Sequence[Term]) -> QuadraticCost:
    parts = by_group(coupling, terms) | {"multiply_adds": torch.tensor(factors, dtype=torch.float64)}
    return QuadraticCost(**parts, full=round(float(QuadraticCost(**parts, full=0)(parts["sizes"]))))


def measured_macs(network: nn.Module, image: tuple[int, ...]) -> int:
    """MACs of one image (bands, H, W) as torch counts them in convolution and linear layers while the network runs."""
    images = torch.zeros(1, *image, device=next(network.parameters()).device)
    training, fused = network.training, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a transformer's layers as one kernel are none that is counted
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    network.train(training)
    counted = counter.get_flop_counts()["Global"]
    return int(sum(flops for kind, flops in counted.items() if kind in _COUNTED)) // 2


_COUNTED = frozenset({torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm})


def _per_group(coupling: Coupling, numbers: torch.Tensor) -> tuple[torch.Tensor, int]:
    """How often a channel of each group appears in a vector of numbers, (G,), and how many of these are fixed."""
    fixed = int((numbers == coupling.channels).sum())
    free = numbers[numbers < coupling.channels]
    counts = torch.bincount(coupling.group_of[free], minlength=len(coupling.groups)).double()
    return counts / torch.tensor([group.size for group in coupling.groups]), fixed
