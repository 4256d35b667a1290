"""A copy of a network, whatever its code keeps in it and however it copies itself."""

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
    """A copy of its own memory, each of its modules in the mode, training or evaluation, of the one it is copied from.

    Python's own copy fails on a tensor that has a gradient's history, as an activation that the network's code keeps
    of its last pass: its values are copied here. And modules that make their copy anew begin it in training, such as
    those of torchvision's `create_feature_extractor`.

    Args:
        network: Left as it is.
        others: What stands in the copy in the place of tensors, by their `id`.
    """
    with Instead(_of_leaf, _of_any):
        made = copy.deepcopy(network, dict(others or {}))
    for module, before in zip(made.modules(), network.modules(), strict=True):
        if module.training != before.training:
            module.train(before.training)  # of modules inside it as well, whose turn comes after it
    return made


def _of_any(tensor: torch.Tensor, memo: dict[int, object]) -> torch.Tensor:
    if tensor.is_leaf:
        return _of_leaf(tensor, memo)  # type: ignore[no-any-return, no-untyped-call]
    return tensor.detach().clone()
