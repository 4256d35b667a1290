"""Operations without weights: entry by entry, channel by channel over positions, and along axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nasprune.coupling.exporting import module_of, operation, shape
from nasprune.coupling.following import Channels, Leaf

if TYPE_CHECKING:
    import torch

    from nasprune.coupling.following import Follower, Value
    from nasprune.coupling.numbering import Numbers


def entrywise(f: Follower, node: torch.fx.Node) -> Value:
    """Operands are aligned as they broadcast, and their channels merged."""
    sources = node.all_input_nodes
    out = shape(node)
    for source in sources:
        _fix_if_spread(f, node, source)
    found = [(source, f.values[source]) for source in sources]
    axes = {
        value.axis + len(out) - len(shape(source)) for source, value in found if isinstance(value, Channels)
    }  # in the result's axes
    if not axes and any(isinstance(value, Leaf) for _, value in found):
        found = [(source, f.value(source)) for source in sources]
        axes = {value.axis + len(out) - len(shape(source)) for source, value in found if isinstance(value, Channels)}
    if len(axes) > 1:
        f.stay(node, f"{operation(node)} joins channels along different axes")
    if len(axes) != 1:
        return None
    (axis,) = axes
    numbers: Numbers | None = None
    rest: list[tuple[torch.fx.Node, int]] = []
    for source, value in found:
        own = axis - (len(out) - len(shape(source)))
        if isinstance(value, Channels):
            numbers = value.numbers if numbers is None else numbers
            f.numbering.merge(numbers, value.numbers)
        elif own >= 0 and shape(source)[own] > 1:
            rest.append((source, own))
    assert numbers is not None  # noqa: S101 (for the type checker)
    for source, own in rest:
        value = f.values[source]
        if isinstance(value, Leaf):
            f.bind(value.name, own, numbers)
        else:
            f.numbering.fix(numbers, f"joined with channels that stay at {module_of(node) or node.name}")
    return Channels(axis, numbers)


def _fix_if_spread(f: Follower, node: torch.fx.Node, source: torch.fx.Node) -> None:
    """A single channel that meets many, as the map of a spatial attention does, is none of them: it stays."""
    value, out = f.values[source], shape(node)
    if isinstance(value, Channels) and len(value.numbers) == 1 < out[value.axis - len(shape(source))]:
        f.numbering.fix(value.numbers, f"a single channel for many at {module_of(node) or node.name}")
        f.values[source] = None


def alike(f: Follower, node: torch.fx.Node) -> Value:
    """Zeros and the like of a tensor's shape have its channels; those of a parameter's shape are made once."""
    value = f.values[node.all_input_nodes[0]]
    return value if isinstance(value, Channels) else None


def prelu(f: Follower, node: torch.fx.Node) -> Value:
    """Slopes run along axis 1, not along the last one as other operands would; or there is one for all channels."""
    source, slopes = node.all_input_nodes
    value, weight = f.value(source), f.values[slopes]
    if not isinstance(value, Channels) or value.axis != 1 or math.prod(shape(slopes)) == 1:
        f.fix(slopes, "")
    elif isinstance(weight, Leaf):
        f.bind(weight.name, 0, value.numbers)
    else:
        f.stay(node, "prelu with computed slopes")
        return None
    return value


def over_positions(f: Follower, node: torch.fx.Node) -> Value:
    """Pooling, padding and resizing: channel by channel."""
    source = node.all_input_nodes[0]
    value = f.value(source)
    if not isinstance(value, Channels):
        return None
    outs = node.meta["val"]
    several = isinstance(outs, list | tuple)
    out = tuple(outs[0].shape) if several else shape(node)
    # The last axes are positions; channels must not be among them.
    positions = 1 if "1d" in operation(node) else 2
    if value.axis >= len(shape(source)) - positions or len(out) != len(shape(source)):
        f.stay(node, f"{operation(node)} runs along the channels")
        return [None] * len(outs) if several else None
    if out[value.axis] != len(value.numbers):  # padding with channels of zeros
        f.stay(node, f"{operation(node)} adds channels")
        return None
    return [value] * len(outs) if several else value


def _reduced_axes(f: Follower, node: torch.fx.Node) -> set[int]:
    rank = len(shape(node.all_input_nodes[0]))
    place = 2 if operation(node) in {"norm", "linalg_vector_norm"} else 1
    given: Any = node.args[place] if len(node.args) > place else node.kwargs.get("dim")
    if given is None or given == []:
        return set(range(rank))
    return {axis % rank for axis in (given if isinstance(given, list | tuple) else [given])}


def reduce(f: Follower, node: torch.fx.Node) -> Value:
    """Means, sums and norms; over the channels they must all stay."""
    source = node.all_input_nodes[0]
    value = f.value(source)
    outs = node.meta["val"]
    several = isinstance(outs, list | tuple)
    result: Channels | None = None
    if isinstance(value, Channels):
        if operation(node) in {"max", "min"} and len(node.all_input_nodes) == 2:
            return entrywise(f, node)
        reduced = _reduced_axes(f, node)
        if value.axis in reduced:
            f.stay(node, f"{operation(node)} is taken over the channels")
        else:
            out = tuple(outs[0].shape) if several else shape(node)
            kept = len(out) == len(shape(source))
            before = 0 if kept else sum(axis < value.axis for axis in reduced)
            result = Channels(value.axis - before, value.numbers)
    return [result] * len(outs) if several else result


def along_an_axis(f: Follower, node: torch.fx.Node) -> Value:
    """Softmax and the like: entry by entry unless they run over the channels."""
    name = operation(node)
    source = node.all_input_nodes[0]
    value = f.value(source)
    if not isinstance(value, Channels):
        return None
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", -1)
    if given % len(shape(source)) == value.axis:
        return f.stay(node, f"{name} is taken over the channels")
    return value
