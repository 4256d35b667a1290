"""What a network's code keeps from one pass to the next, where a recorded step does not see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class HostKeeping:
    """Finds out whether modules hold other things after what runs inside than before.

    A CUDA graph changes a tensor in its place at each launch. But a count that code holds as a number, or a tensor that
    it puts in the place of another one, changes while recording alone: all launches would take the same number, and
    read memory that may be another's by then. Things that only code outside of modules holds are not watched.

    Args:
        network: Whose modules are watched.

    Attributes:
        changed: Whether they do; known once it has run.
    """

    changed: bool = False

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __enter__(self) -> HostKeeping:
        self._before = list(_held(self._network))
        return self

    def __exit__(self, *_: object) -> None:
        after = list(_held(self._network))
        self.changed = len(after) != len(self._before) or not all(map(_same, self._before, after))


def _held(network: nn.Module) -> Iterator[tuple[object, int]]:
    """Everything that modules hold, in lists and the like as well, and for a tensor where it lies."""
    waiting: list[object] = [vars(module) for module in network.modules()]
    seen: set[int] = set()  # what holds itself is looked at once
    while waiting:
        held = waiting.pop()
        if isinstance(held, dict | list | tuple):
            if id(held) not in seen:
                waiting.extend(held.values() if isinstance(held, dict) else held)
            seen.add(id(held))
        else:
            yield held, held.data_ptr() if isinstance(held, torch.Tensor) and held.layout == torch.strided else 0


def _same(before: tuple[object, int], after: tuple[object, int]) -> bool:
    (one, lay), (other, lies) = before, after
    return lay == lies and (one is other or (type(one) in _PLAIN and type(one) is type(other) and one == other))
