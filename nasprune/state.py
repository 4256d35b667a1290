"""Tensors by name -> a module, and back."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer by name, those too that `state_dict` leaves out; not copied.

    Who leaves a buffer out can make it again. We cannot: it may have shrunk with its channels. What a module adds to
    its state that is no tensor (`get_extra_state`) is left out.
    """
    found = {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
    found |= {name: buffer for name, buffer in module.named_buffers() if name not in found}
    return {name: value.detach() for name, value in found.items()}


def load_tensors(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load what `tensors_of` or `module.state_dict()` gave, from a format that holds nothing but tensors.

    Buffers that `state_dict` leaves out stay as they are where none are given. What modules add to their state that is
    no tensor, and the version numbers that they keep beside their tensors, are taken from the module itself, since the
    same code wrote the tensors; some refuse a state without (torchvision's MNASNet).

    Raises:
        RuntimeError: if names or shapes differ.
    """
    own = module.state_dict()
    left_out = {name: buffer for name, buffer in module.named_buffers() if name not in own and name in tensors}
    state = OrderedDict((name, value) for name, value in tensors.items() if name not in left_out)
    state |= {name: value for name, value in own.items() if not isinstance(value, torch.Tensor)}
    state._metadata = own._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state)
    with torch.no_grad():
        for name, buffer in left_out.items():
            if buffer.shape != tensors[name].shape:  # `copy_` would broadcast
                raise RuntimeError(
                    f"size mismatch for {name}: {tuple(tensors[name].shape)}, {tuple(buffer.shape)} here"
                )
            buffer.copy_(tensors[name])
