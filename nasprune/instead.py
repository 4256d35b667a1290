"""One of torch's functions done another way, in a network whose code stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Instead(TorchFunctionMode):
    """Inside, `way` takes the calls of `function`, and may call it itself.

    Args:
        function: As torch hands it on, for instance `torch.conv2d`.
        way: Takes the same arguments.
    """

    def __init__(self, function: Callable[..., object], way: Callable[..., object]) -> None:
        super().__init__()
        self._function, self._way = function, way

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        return (self._way if func is self._function else func)(*args, **(kwargs or {}))


def backward(loss: torch.Tensor, *leaves: torch.Tensor) -> None:
    """What `loss.backward()` does, inside an `Instead` for what runs again on the way (gradient checkpointing) as well.

    Torch's own is a function that an `Instead` may take the place of, and such contexts are suspended within those.

    Args:
        loss: 0-d.
        leaves: Those that get a gradient; by default all that `loss` depends on.
    """
    grown = torch.ones_like(loss)
    _engine_run_backward((loss,), (grown,), False, False, leaves, allow_unreachable=True, accumulate_grad=True)
