"""Tensors by name -> a module."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn


def load_tensors(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Load what `module.state_dict()` gave, from a format that holds nothing but tensors.

    Modules keep version numbers beside their tensors, and some refuse a state without (torchvision's MNASNet): these
    are taken from the module itself, since the same code wrote the tensors.

    Raises:
        RuntimeError: if names or shapes differ.
    """
    state = OrderedDict(tensors)
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state)
