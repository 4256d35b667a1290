"""What is known of a network's channels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LayerKind = Literal["conv", "depthwise", "linear", "norm", "layer_norm"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What decides, beside its widths, how long a layer takes.

    Attributes:
        kernel: Sides of the kernel; () for a linear layer.
        stride: A step for each side, and so on.
        padding: On each rim; where an even kernel with padding "same" has one more on one rim, the lesser.
        dilation: Between the kernel's elements.
        sides: Of the input: height and width, or for a linear layer the number of rows.
        groups: Of a convolution all of whose groups lose the same channels; else 1.
    """

    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module with weights, and the channels along its weight's axes.

    Attributes:
        name: Dotted module name.
        weight: Full name of its weight; "" where it has none, or one that is computed.
        kind: What the weight's axes mean. A grouped convolution is a "conv" where all its groups lose the same
            channels, and "depthwise" where whole groups leave.
        outputs: (out,) int64 channel numbers of the weight's output axis.
        inputs: (in,) int64 channel numbers of the weight's input axis; None where a channel only meets itself
            (norms, depthwise convolution). A linear layer behind a flattened map names each channel once for
            every pixel.
        input_axis: Which axis of the weight is the input axis.
        fixed_inputs: Where `inputs` is None: input channels that meet each output.
        multiply_adds: Multiply-adds of one image for one (input, output) pair of channels: kernel
            elements times output positions; 0 for a norm.
        geometry: Of a plain, grouped or depthwise convolution over images, or a linear layer; None else.
    """

    name: str
    weight: str
    kind: LayerKind
    outputs: torch.Tensor
    inputs: torch.Tensor | None
    input_axis: int = 1
    fixed_inputs: int = 1
    multiply_adds: int
    geometry: Geometry | None = None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a parameter or buffer that channels run along.

    Attributes:
        tensor: Full name of the parameter or buffer.
        axis: Which of its axes.
        channels: (length,) int64 channel numbers.
    """

    tensor: str
    axis: int
    channels: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Group:
    """Channels of one or several layers that have one common width.

    Attributes:
        name: The first module that produces these channels.
        start: Number of the group's first channel.
        size: How many channels the traced network has here. Where channels can only leave in bundles (the groups
            of a grouped convolution, a shuffle) it is the number of bundles.
    """

    name: str
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Coupling:
    """The prunable channels of a network and every weight axis they run along.

    Channels are numbered 0 to `channels - 1`, group after group. The number `channels` itself stands
    for every channel that always stays: image channels, class logits, and those in `whole`.

    Attributes:
        groups: In the order of their channels' numbers.
        layers: In the order of execution; a shared module once for every call.
        axes: Of all tensors that shrink with the channels.
        whole: Modules all of whose channels stay, with the reason.
    """

    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    whole: Mapping[str, str] = field(default_factory=dict)

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

    def after(self, kept: torch.Tensor) -> Coupling:
        """The coupling of the network that keeps these channels, without tracing it.

        Args:
            kept: (channels,) bool, at least one channel in every group.
        """
        kept = kept.detach().cpu()
        stays = torch.cat([kept, torch.ones(1, dtype=torch.bool)])
        new = stays.long().cumsum(0) - 1  # the fixed number comes last, after all that stay
        return self._renumbered(self.widths(kept), lambda channels: new[channels[stays[channels]]], self.whole)

    def without(self, names: Mapping[str, str]) -> Coupling:
        """The same with some groups whole, `names` with their reasons; at least one must remain."""
        gone = torch.tensor([group.name in names for group in self.groups])[self.group_of]
        stays = ~gone
        new = torch.full((self.channels + 1,), int(stays.sum()))
        new[:-1][stays] = torch.arange(int(stays.sum()))
        widths = {group.name: group.size for group in self.groups if group.name not in names}
        return self._renumbered(widths, lambda channels: new[channels], {**self.whole, **names})

    def _renumbered(
        self,
        widths: Mapping[str, int],
        renumber: Callable[[torch.Tensor], torch.Tensor],
        whole: Mapping[str, str],
    ) -> Coupling:
        """With groups of these widths, their channels along every axis as `renumber` says."""
        groups, start = [], 0
        for name, width in widths.items():
            groups.append(Group(name=name, start=start, size=width))
            start += width
        layers = (
            dataclasses.replace(
                layer,
                outputs=renumber(layer.outputs),
                inputs=None if layer.inputs is None else renumber(layer.inputs),
            )
            for layer in self.layers
        )
        axes = (dataclasses.replace(axis, channels=renumber(axis.channels)) for axis in self.axes)
        return Coupling(groups=tuple(groups), layers=tuple(layers), axes=tuple(axes), whole=whole)


def whole_groups_leave(groups: int, weight: torch.Size | tuple[int, ...]) -> bool:
    """How a grouped convolution with this weight is pruned.

    Either whole groups leave, or every group loses the same of its channels: what leaves more to choose from. With
    whole groups that is their number, else the channels of one, inputs or outputs, whichever are fewer.
    """
    return groups > 1 and groups >= min(weight[1], weight[0] // groups)
