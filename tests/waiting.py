"""Whether code waits for a value that a GPU has still to compute, found out without one."""

from __future__ import annotations

from torch._subclasses.fake_tensor import FakeTensorMode


def without_values() -> FakeTensorMode:
    """Inside, tensors have shapes alone: what asks for a value, or for a shape that depends on one, raises."""
    return FakeTensorMode(allow_non_fake_inputs=True)
