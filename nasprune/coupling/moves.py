"""Views, transposes, joins and splits: the operation itself is run on a tensor of numbers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nasprune.coupling.exporting import operation, shape
from nasprune.coupling.following import Channels
from nasprune.coupling.numbering import FIXED
from nasprune.coupling.operations import CUT_FROM

if TYPE_CHECKING:
    from collections.abc import Callable

    from nasprune.coupling.following import Follower, Value
    from nasprune.coupling.numbering import Numbers


_VIEWS = frozenset({"view", "reshape", "_unsafe_view", "unflatten"})
_STILL = _VIEWS | {"flatten", "squeeze", "expand", "expand_as", "broadcast_to", "repeat", "tile", "slice", "narrow"}
"""These change nothing where the shape stays the same."""


def move(f: Follower, node: torch.fx.Node) -> Value:
    """Any operation that only moves entries, of one tensor or several."""
    name = operation(node)
    if name in _STILL and shape(node) == shape(node.all_input_nodes[0]):
        return f.values[node.all_input_nodes[0]]  # a slice of everything, a view of the same shape
    if name in CUT_FROM and _cuts_channels(f, node):
        f.stay(node, f"{name} takes channels by fixed positions")
        return [None] * len(node.meta["val"]) if isinstance(node.meta["val"], list | tuple) else None
    if all(f.value(source) is None for source in node.all_input_nodes):
        return [None] * len(node.meta["val"]) if isinstance(node.meta["val"], list | tuple) else None
    if name in _VIEWS:
        _tie_split_channels(f, node)
    elif name in {"channel_shuffle", "native_channel_shuffle"}:
        _tie_shuffled_channels(f, node)
    target: Callable[..., Any] = node.target  # type: ignore[assignment]
    args = torch.fx.node.map_arg(node.args, functools.partial(_numbers, f))
    kwargs = torch.fx.node.map_arg(node.kwargs, functools.partial(_numbers, f))
    moved = target(*args, **kwargs)
    if isinstance(moved, torch.Tensor):
        return _compressed(f, moved.numpy())
    parts = [_compressed(f, part.numpy()) for part in moved]
    vectors = [part.numbers for part in parts if isinstance(part, Channels)]
    if name == "chunk" and len(vectors) > 1 and _cuts_channels(f, node):
        if len({len(vector) for vector in vectors}) > 1 or len(vectors) != len(parts):
            f.stay(node, "chunk makes unequal parts")
            return [None] * len(parts)
        for vector in vectors[1:]:  # parts of one size stay parts of one size
            f.numbering.merge(vectors[0], vector)
    return parts


def _cuts_channels(f: Follower, node: torch.fx.Node) -> bool:
    source = node.all_input_nodes[0]
    value = f.value(source)
    if not isinstance(value, Channels):
        return False
    given = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    if operation(node) in {"slice", "select", "narrow", "unbind"}:
        given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    assert isinstance(given, int)  # noqa: S101 (for the type checker)
    return given % len(shape(source)) == value.axis


def _numbers(f: Follower, node: torch.fx.Node) -> torch.Tensor:
    """A tensor of numbers in the place of an operand."""
    value = f.value(node)
    sides = shape(node)
    if not isinstance(value, Channels):
        return torch.full(sides, FIXED)
    along = [1] * len(sides)
    along[value.axis] = -1
    roots = f.numbering.roots(value.numbers)
    return torch.from_numpy(roots).reshape(along).expand(sides).contiguous()


def _tie_split_channels(f: Follower, node: torch.fx.Node) -> None:
    """Where a view splits channels over several axes, merge those that lie at one place of the last of them.

    The last axis is taken for the one that shrinks, as in a channel shuffle, whose number of groups is a constant.
    """
    (source,) = node.all_input_nodes
    value = f.value(source)
    if not isinstance(value, Channels):
        return
    along = [1] * len(shape(source))
    along[value.axis] = -1
    places = np.broadcast_to(np.arange(len(value.numbers)).reshape(along), shape(source)).reshape(shape(node))
    varies = [axis for axis in range(places.ndim) if bool((places != places.take([0], axis)).any())]
    if len(varies) > 1:
        rows = np.moveaxis(places, varies[-1], -1).reshape(-1, places.shape[varies[-1]])
        for row in np.unique(rows, axis=0)[1:]:
            f.numbering.merge(value.numbers[rows[0]], value.numbers[row])


def _tie_shuffled_channels(f: Follower, node: torch.fx.Node) -> None:
    """Every group of a channel shuffle loses the same of its channels, since the number of groups is a constant."""
    value = f.value(node.all_input_nodes[0])
    groups = node.args[1] if len(node.args) > 1 else node.kwargs["groups"]
    if isinstance(value, Channels) and value.axis == 1:
        f.bundle(value.numbers.reshape(int(str(groups)), -1).T)


def _compressed(f: Follower, full: Numbers) -> Channels | None:
    """The one axis along which numbers vary; of several the last, its entries merged over the others."""
    for axis in range(full.ndim):
        if full.shape[axis] > 1 and bool((full == full.take([0], axis)).all()):
            full = full.take([0], axis)
    vary = [axis for axis in range(full.ndim) if full.shape[axis] > 1]
    if not vary:
        if full.size and int(full.flat[0]) != FIXED:
            f.numbering.fix(full.reshape(-1)[:1], "a single channel")
        return None
    axis = vary[-1]
    rows = np.moveaxis(full, axis, -1).reshape(-1, full.shape[axis])
    for row in rows[1:]:
        f.numbering.merge(rows[0], row)
    return Channels(axis, rows[0].copy())


def pixel_shuffle(f: Follower, node: torch.fx.Node) -> Value:
    """Bundles of channels become one channel each."""
    source = node.all_input_nodes[0]
    value = f.value(source)
    if not isinstance(value, Channels):
        return None
    if value.axis != len(shape(source)) - 3:
        return f.stay(node, "pixel_shuffle of another axis than the channels")
    bundle = int(str(node.args[1])) ** 2
    bundles = value.numbers.reshape(-1, bundle)
    f.bundle(bundles)
    return Channels(value.axis, bundles[:, 0].copy())
