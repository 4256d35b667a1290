"""Whether code waits for a value that a GPU has still to compute, found out without one."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_DEPENDS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def without_values() -> FakeTensorMode:
    """Inside, tensors have shapes alone: what asks for a value, or for a shape that depends on one, raises."""
    return FakeTensorMode(allow_non_fake_inputs=True)


class Waits(TorchDispatchMode):
    """Counts how often a value is asked for, or a shape that depends on one."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        depends = bool(_DEPENDS & set(func.tags))
        if func is torch.ops.aten.index.Tensor:  # by numbers it gives what it was asked for, by a mask what is true
            depends = any(index is not None and index.dtype == torch.bool for index in args[1])
        self.count += depends
        return func(*args, **(kwargs or {}))


class Crossings(TorchDispatchMode):
    """Counts operations that bring something from the processor to "meta", a device that stands for a GPU, or back.

    Values there are none: who asks for one is given 0.5, and counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += args[0].is_meta
            return 0.5 if args[0].is_meta else func(*args)
        # The kernel of SGD, for which torch has no stand-in, gives nothing.
        made = None if func is torch.ops.aten._fused_sgd_.default else func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, made)) if isinstance(each, torch.Tensor)]
        self.count += len({each.device.type for each in tensors}) > 1
        return made
