"""A network run under masks, without touching the network."""

from __future__ import annotations

import functools
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional as F
from torch.nn.utils.stateless import _reparametrize_module  # of `torch.func.functional_call`, which ends with the call

from nasprune.instead import Instead
from nasprune.tensors import places_of, tensor_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from nasprune.coupling import Coupling


class MaskedNetwork:
    """Runs `network` as if channels were scaled by a mask, in one forward pass of ordinary speed.

    A channel is silenced where it is read: the columns of every layer that takes it are multiplied by its
    mask. Between there and where it is made, all operations treat channels one by one, so this equals
    masking the channel itself; and with masks of 0 and 1 it equals removing it. A layer norm alone lets channels
    meet on the way; its mean and variance are weighted by the mask.

    Args:
        network: The network `coupling` was found in; its weights and batch-norm statistics train as usual.
        coupling: Its groups and layers.
    """

    def __init__(self, network: nn.Module, coupling: Coupling) -> None:
        self.network = network
        self._columns: dict[str, tuple[torch.Tensor, tuple[int, ...]]] = {}
        self._normed: dict[str, torch.Tensor] = {}
        self._places = {names[0]: names for names in places_of(network).values()}
        for layer in coupling.layers:
            read = layer.outputs if layer.kind == "layer_norm" else layer.inputs
            if read is None or bool((read == coupling.channels).all()):
                continue
            weight = tensor_of(network, layer.weight)
            read = read.to(weight.device)
            if layer.kind == "layer_norm":
                self._normed[layer.weight] = read
                continue
            shape = [1] * weight.dim()
            shape[layer.input_axis] = -1
            self._columns[layer.weight] = (read, tuple(shape))

    def __call__(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, bands, H, W) under mask (C,); gradients flow to both.

        But where the network computes activations anew for its backward pass, see `under`.
        """
        with self.under(mask) as network:
            return cast("torch.Tensor", network(images))

    @contextmanager
    def under(self, mask: torch.Tensor) -> Iterator[nn.Module]:
        """Inside, the network runs under mask (C,), and so does what of it runs again for `instead.backward`.

        With gradient checkpointing, a backward pass after the end would be that of other weights.
        """
        padded = torch.cat([mask, mask.new_ones(1)])
        norms = {name: tensor_of(self.network, name) * 1 for name in self._normed}  # tensors to know them by
        masks = {id(norms[name]): padded[at] for name, at in self._normed.items()}
        weighed = Instead(F.layer_norm, functools.partial(_layer_norm, masks)) if masks else nullcontext()
        weights = {**self.weights(mask), **norms}
        everywhere = {place: weight for name, weight in weights.items() for place in self._places[name]}
        # Not tied by torch, which replaces a module's weight once for each name of the module and then puts back less.
        with weighed, _reparametrize_module(self.network, everywhere, tie_weights=False):
            yield self.network

    def weights(self, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weights that the network runs with under mask (C,), by name."""
        padded = torch.cat([mask, mask.new_ones(1)])
        return {
            name: tensor_of(self.network, name) * padded[columns].reshape(shape)
            for name, (columns, shape) in self._columns.items()
        }


def _layer_norm(
    masks: Mapping[int, torch.Tensor],
    x: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor:
    """A layer norm whose statistics are weighed by the mask (C,) that is known for its weight, by `id`."""
    mask = masks.get(id(weight))
    if mask is None or weight is None:
        return F.layer_norm(x, normalized_shape, weight, bias, eps)
    x, mask = x.to(weight.dtype), mask.to(weight.dtype)
    count = mask.sum()
    centred = x - (x * mask).sum(-1, keepdim=True) / count
    variance = (centred.square() * mask).sum(-1, keepdim=True) / count
    normed: torch.Tensor = centred * torch.rsqrt(variance + eps) * weight
    return normed if bias is None else normed + bias
