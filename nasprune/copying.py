"""A copy of a network, whatever its code keeps in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch

from nasprune.instead import Instead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    Network = TypeVar("Network", bound=nn.Module)

_of_leaf = torch.Tensor.__deepcopy__


def copy_of(network: Network, others: Mapping[int, torch.Tensor] | None = None) -> Network:
    """A copy of its own memory.

    Python's own copy fails on a tensor that has a gradient's history, as an activation that the network's code keeps
    of its last pass; its values are copied here.

    Args:
        network: Left as it is.
        others: What stands in the copy in the place of tensors, by their `id`.
    """
    with Instead(_of_leaf, _of_any):
        return copy.deepcopy(network, dict(others or {}))


def _of_any(tensor: torch.Tensor, memo: dict[int, object]) -> torch.Tensor:
    if tensor.is_leaf:
        return _of_leaf(tensor, memo)  # type: ignore[no-any-return, no-untyped-call]
    return tensor.detach().clone()
