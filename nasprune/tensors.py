"""A network's parameters and buffers by name, and by all their names: one may stand in several places."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def tensor_of(network: nn.Module, name: str) -> torch.Tensor:
    """The parameter or buffer of this full name."""
    module, _, own = name.rpartition(".")
    found: torch.Tensor = getattr(network.get_submodule(module), own)
    return found


def places_of(network: nn.Module) -> dict[int, list[str]]:
    """Full names of every place where a parameter or buffer stands, by its `id`.

    Tied weights stand in several places, the first of which is their name in `named_parameters()`. A module that is
    known by two names is one module, and goes by the first.
    """
    places: dict[int, list[str]] = {}
    for prefix, module in network.named_modules():
        own = itertools.chain(
            module.named_parameters(prefix, recurse=False, remove_duplicate=False),
            module.named_buffers(prefix, recurse=False, remove_duplicate=False),
        )
        for name, tensor in own:
            places.setdefault(id(tensor), []).append(name)
    return places
