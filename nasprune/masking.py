"""A network run under masks, without touching the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.func import functional_call

if TYPE_CHECKING:
    from torch import nn

    from nasprune.coupling import Coupling


class MaskedNetwork:
    """Runs `network` as if channels were scaled by a mask, in one forward pass of ordinary speed.

    A channel is silenced where it is read: the columns of every layer that takes it are multiplied by its
    mask. Between there and where it is made, all operations treat channels one by one, so this equals
    masking the channel itself; and with masks of 0 and 1 it equals removing it.

    Args:
        network: The network `coupling` was found in; its weights and batch-norm statistics train as usual.
        coupling: Its groups and layers.
    """

    def __init__(self, network: nn.Module, coupling: Coupling) -> None:
        self.network = network
        self._columns: dict[str, tuple[torch.Tensor, tuple[int, ...]]] = {}
        for layer in coupling.layers:
            if layer.inputs is None or bool((layer.inputs == coupling.channels).all()):
                continue
            weight = network.get_parameter(f"{layer.name}.weight")
            shape = (1, -1) + (1,) * (weight.dim() - 2)
            self._columns[f"{layer.name}.weight"] = (layer.inputs.to(weight.device), shape)

    def __call__(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, 3, H, W) under mask (C,); gradients flow to both."""
        return cast("torch.Tensor", functional_call(self.network, self.weights(mask), (images,)))

    def weights(self, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weights that the network runs with under mask (C,), by name."""
        padded = torch.cat([mask, mask.new_ones(1)])
        return {
            name: self.network.get_parameter(name) * padded[columns].reshape(shape)
            for name, (columns, shape) in self._columns.items()
        }
