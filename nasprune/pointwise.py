"""Strided 1x1 convolutions of few channels, kept from a fault of the library that torch computes them with on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_BLOCK = 16  # input channels that the library takes at once: 16 with AVX-512, 8 with AVX2


def right_gradients(weights: Iterable[torch.Tensor]) -> AbstractContextManager[object]:
    """The context of forward passes whose gradients are to be right; it may be entered again and again.

    Where images lie channels-last and input channels are fewer than a block, the gradient that oneDNN gives to the
    weights of a strided 1x1 convolution is wrong with several threads, and with one it overwrites memory it does not
    own (uxlfoundation/oneDNN#6035; seen with torch 2.15 on AVX2). Every residual network has such layers, and few
    channels is what pruning makes of them. Inside, such a layer picks its pixels first and has no stride: the same
    sums, which the library works out in another way.

    Args:
        weights: All that the passes use; where none is of such a layer nothing changes.
    """
    concerned = any(weight.device.type == "cpu" and _few(weight) for weight in weights)
    return _PickedPixels() if concerned else nullcontext()


def _few(weight: torch.Tensor) -> bool:
    return weight.shape[2:] == (1, 1) and weight.shape[1] < _BLOCK


class _PickedPixels(TorchFunctionMode):
    """Takes the place of `torch.conv2d`."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))  # type: ignore[arg-type]
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: torch.Tensor,  # noqa: A002 (torch's own name, by which it may be given)
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> torch.Tensor:
    down, along = (stride, stride) if isinstance(stride, int) else (stride[0], stride[-1])
    if groups == 1 and _few(weight) and max(down, along) > 1 and padding in (0, (0, 0), [0, 0], "valid"):
        input, stride = input[..., ::down, ::along], 1  # noqa: A001
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
