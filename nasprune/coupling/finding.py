"""From a network to its coupling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nasprune.coupling.exporting import export
from nasprune.coupling.result import Axis, Coupling, Group, Layer
from nasprune.coupling.rules import follow

if TYPE_CHECKING:
    from torch import nn

    from nasprune.coupling.numbering import Numbers


def find_coupling(network: nn.Module, example: torch.Tensor) -> Coupling:
    """Trace `network` on `example` (any batch size, (B, bands, H, W)) and find its groups.

    Raises:
        NetworkError: if the network does not trace, holds an operation on a channel path that is not
            understood (named), or has nothing to prune.
    """
    follower = follow(export(network, example))
    numbered = follower.numbering.number(follower.uses())

    def final(numbers: Numbers) -> torch.Tensor:
        return torch.from_numpy(numbered.final[numbers])

    groups = tuple(Group(name=name, start=start, size=size) for name, start, size in numbered.groups)
    channels = sum(group.size for group in groups)
    layers = tuple(
        Layer(
            name=call.name, weight=call.weight, kind=call.kind, outputs=final(call.outputs),
            inputs=None if call.inputs is None else final(call.inputs), input_axis=call.input_axis,
            fixed_inputs=call.fixed_inputs, multiply_adds=call.multiply_adds, geometry=call.geometry,
        )
        for call in follower.calls
    )  # fmt: skip
    found = (
        Axis(tensor=tensor, axis=axis, channels=final(numbers)) for (tensor, axis), numbers in follower.axes.items()
    )
    return Coupling(
        groups=groups,
        layers=layers,
        axes=tuple(axis for axis in found if bool((axis.channels < channels).any())),
        whole=numbered.whole,
    )
