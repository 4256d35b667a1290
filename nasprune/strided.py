"""Strided convolutions, kept from two faults of the library that torch computes them with on a CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch

from nasprune.instead import Instead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BLOCK = 16  # input channels that the library takes at once: 16 with AVX-512, 8 with AVX2


def right_gradients(weights: Iterable[torch.Tensor]) -> AbstractContextManager[object]:
    """The context of passes, forward and backward, whose gradients are to be right; it may be entered again and again.

    oneDNN goes wrong in the gradient of a strided convolution's weights, as torch 2.15 brings it:

    - where images lie channels-last, the kernel is 1x1 and input channels are fewer than a block, it works in memory
      that is too small (uxlfoundation/oneDNN#6035). With AVX2 the process dies with one thread, and the gradient is
      wrong with more; with AVX-512, in float32 and bfloat16, the process dies where the batch is no multiple of the
      threads. Every residual network has such layers, and few channels is what pruning makes of them. Inside, such a
      layer picks its pixels first and has no stride.
    - where the kernel is larger, padding surrounds a map narrower than the stride, and the numbers are bfloat16, it
      takes up whatever memory held before: noise, or NaN. A residual network has such layers where images are
      so small that the last maps are one pixel wide. Inside, such a layer moves by one and keeps its first column.

    Both ways give the same sums, which the library works out in another way.

    Args:
        weights: All that the passes use; where none is of such a layer nothing changes.
    """
    concerned = any(weight.device.type == "cpu" and (_narrow(weight) or _wide(weight)) for weight in weights)
    return Instead(torch.conv2d, _conv2d) if concerned else nullcontext()


def _narrow(weight: torch.Tensor) -> bool:
    return weight.shape[2:] == (1, 1) and weight.shape[1] < _BLOCK


def _wide(weight: torch.Tensor) -> bool:
    return weight.dim() == 4 and weight.shape[3] > 1


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
    if groups == 1 and _narrow(weight) and max(down, along) > 1 and padding in (0, (0, 0), [0, 0], "valid"):
        return torch.conv2d(input[..., ::down, ::along], weight, bias, 1, padding, dilation)
    if input.shape[-1] < along and _wide(weight) and not isinstance(padding, str):
        reach = (dilation if isinstance(dilation, int) else dilation[-1]) * (weight.shape[3] - 1)
        beside = padding if isinstance(padding, int) else padding[-1]
        if input.shape[-1] + 2 * beside - reach <= along:  # the kernel has one place only along the width
            return torch.conv2d(input, weight, bias, (down, 1), padding, dilation, groups)[..., :1]
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
