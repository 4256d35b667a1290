"""Which channels must live or die together, found by tracing the network.

Every channel of the traced network gets a number. Operations that join tensors channel by channel
(a residual sum, batch norm, a depthwise convolution) make numbers equal; what remains distinct can be
kept or removed on its own. Nothing here knows an architecture by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from nasprune.tracing import trace_channels

if TYPE_CHECKING:
    from collections.abc import Mapping

LayerKind = Literal["conv", "depthwise", "linear", "norm"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module with weights, and the channels along its weight's axes.

    Attributes:
        name: Dotted module name.
        kind: What the weight's axes mean.
        outputs: (out,) int64 channel numbers of weight axis 0.
        inputs: (in,) int64 channel numbers of weight axis 1; None where a channel only meets itself
            (batch norm, depthwise convolution). A linear layer behind a flattened map names each
            channel once for every pixel.
        multiply_adds: Multiply-adds of one image for one (input, output) pair of channels: kernel
            elements times output positions; 0 for a norm.
    """

    name: str
    kind: LayerKind
    outputs: torch.Tensor
    inputs: torch.Tensor | None
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Channels of one or several layers that have one common width.

    Attributes:
        name: The first module that produces these channels.
        start: Number of the group's first channel.
        size: How many channels the traced network has here.
    """

    name: str
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """The prunable channels of a network and every weight axis they run along.

    Channels are numbered 0 to `channels - 1`, group after group. The number `channels` itself stands
    for every channel that always stays: image channels and class logits.
    """

    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]

    @property
    def channels(self) -> int:
        """How many channels can be kept or removed."""
        return sum(group.size for group in self.groups)

    @property
    def group_of(self) -> torch.Tensor:
        """(channels,) int64: the index of each channel's group."""
        sizes = torch.tensor([group.size for group in self.groups])
        return torch.repeat_interleave(torch.arange(len(self.groups)), sizes)

    def widths(self, kept: torch.Tensor) -> dict[str, int]:
        """Channels kept by each group, from a (channels,) bool tensor."""
        kept = kept.detach().cpu()
        return {g.name: int(kept[g.start : g.start + g.size].sum()) for g in self.groups}

    def first_channels(self, widths: Mapping[str, int]) -> torch.Tensor:
        """A (channels,) bool tensor that keeps the first `widths[group]` channels of every group.

        Which ones is of no matter where only the shapes count (loading weights into a rebuilt network).

        Raises:
            ValueError: if a group is missing, unknown, or its width is not in 1..size.
        """
        expected = {group.name: group.size for group in self.groups}
        if set(widths) != set(expected):
            odd = sorted(set(widths) ^ set(expected))
            raise ValueError(f"widths name other groups than the network has: {', '.join(odd[:5])}")
        kept = torch.zeros(self.channels, dtype=torch.bool)
        for group in self.groups:
            width = widths[group.name]
            if not 1 <= width <= group.size:
                raise ValueError(f"width {width} of group {group.name} is not in 1..{group.size}")
            kept[group.start : group.start + width] = True
        return kept


def find_coupling(network: nn.Module, example: torch.Tensor) -> Coupling:
    """Trace `network` on `example` (any batch size, (B, C, H, W)) and find its groups.

    Raises:
        NetworkError: if the network does not trace, holds an operation on a channel path that is not
            understood (named), or has nothing to prune.
    """
    traced = trace_channels(network, example)
    numbering, groups = traced.number()
    layers = []
    for call in traced.calls.values():
        outputs = numbering[call.outputs]
        inputs = None if call.inputs is None else numbering[call.inputs]
        layers.append(
            Layer(
                name=call.name,
                kind=call.kind,
                outputs=torch.from_numpy(outputs),
                inputs=None if inputs is None else torch.from_numpy(inputs),
                multiply_adds=call.multiply_adds,
            )
        )
    return Coupling(
        groups=tuple(Group(name=name, start=start, size=size) for name, start, size in groups),
        layers=tuple(layers),
    )
