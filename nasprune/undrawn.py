"""Networks built without drawing their initial weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import init
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DRAWING: tuple[object, ...] = (
    torch.Tensor.normal_, torch.Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_,
)  # fmt: skip


class Undrawn(TorchFunctionMode):
    """Inside, parameters stay whatever memory held: for networks whose weights are loaded next.

    Drawing is what takes time when a large network is built. All else has its values: buffers, which a file may lack,
    tensors that a module holds as plain attributes, and numbers that widths are worked out from.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        given = kwargs or {}
        if func in _DRAWING:
            drawn = args[0] if args else given["tensor"]
            if isinstance(drawn, nn.Parameter):
                return drawn
        return func(*args, **given)
