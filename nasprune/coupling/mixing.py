"""Convolutions, linear layers and norms: the operations with weights, whose axes they name."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from nasprune.coupling.exporting import module_of, operation, shape
from nasprune.coupling.following import Call, Channels, Leaf, module_name
from nasprune.coupling.numbering import FIXED
from nasprune.coupling.result import Geometry, whole_groups_leave

if TYPE_CHECKING:
    from nasprune.coupling.following import Follower, Value
    from nasprune.coupling.numbering import Numbers


def convolution(f: Follower, node: torch.fx.Node) -> Value:
    """Plain, grouped, depthwise and transposed convolution."""
    images, kernel = node.all_input_nodes[:2]
    transposed, groups = _kind(node)
    sides, made = shape(kernel), shape(node)[1]
    weight = _weight(f, node, 1)
    cost = math.prod(sides[2:]) * _places(images if transposed else node, len(sides) - 2)
    if weight is None or len(shape(images)) != len(sides) or (transposed and groups > 1):
        why = "a convolution with computed weights" if weight is None else "a convolution of an unusual kind"
        _count_only(f, node, cost * sides[0] * sides[1])
        return f.stay(node, why)
    cost = f.of_one_image(node, cost)
    source = _on_axis(f, images, 1, node)
    producer = module_name(weight)
    geometry = None if transposed else _geometry(node)
    if groups == 1:
        inside, outside = (0, 1) if transposed else (1, 0)
        outputs = _outputs(f, weight, made, producer, axis=outside)
        _mixing(f, weight, "conv", outputs, source, cost, geometry, inside=inside, outside=outside)
    elif whole_groups_leave(groups, sides):
        bundles = source.reshape(groups, -1)
        f.bundle(bundles)
        outputs = np.repeat(bundles[:, 0], made // groups)
        f.bind(weight, 0, outputs)
        f.calls.append(
            Call(
                name=producer, weight=weight, kind="depthwise", outputs=outputs, inputs=None,
                fixed_inputs=sides[1], multiply_adds=cost, geometry=geometry,
            )
        )  # fmt: skip
    else:  # every group loses the same of its channels
        f.bundle(source.reshape(groups, -1).T)
        outputs = np.tile(_outputs(f, weight, made // groups, producer), groups)
        geometry = geometry and dataclasses.replace(geometry, groups=groups)
        _mixing(f, weight, "conv", outputs, source[: sides[1]], cost, geometry)
    _bias(f, node, 2, outputs)
    return Channels(1, outputs)


def _places(maps: torch.fx.Node, sides: int) -> int:
    """Positions of all maps (B, channels, ...), or of one without a batch: an image may bring several, or share one."""
    *batch, _ = shape(maps)[:-sides]
    return math.prod(batch) * math.prod(shape(maps)[-sides:])


def _kind(node: torch.fx.Node) -> tuple[bool, int]:
    """Whether a convolution is transposed, and its number of groups, from its arguments."""
    name = operation(node)
    if name == "convolution":
        return bool(node.args[6]), _integer(node.args[8])
    place = 6
    given = node.args[place] if len(node.args) > place else node.kwargs.get("groups", 1)
    return name == "conv_transpose2d", _integer(given)


def _geometry(node: torch.fx.Node) -> Geometry | None:
    """Of a convolution over images; None for other numbers of sides."""
    images, kernel = node.all_input_nodes[:2]
    sides = shape(kernel)[2:]
    if len(sides) != 2:
        return None
    given: list[Any] = [node.args[place] if len(node.args) > place else None for place in (3, 4, 5)]
    keys = (("stride", 1), ("padding", 0), ("dilation", 1))
    stride, padding, dilation = (
        node.kwargs.get(key, default) if value is None else value
        for value, (key, default) in zip(given, keys, strict=True)
    )
    spread = _pair(dilation)
    return Geometry(
        kernel=sides, stride=_pair(stride), padding=_padding(padding, sides, spread), dilation=spread,
        sides=shape(images)[2:],
    )  # fmt: skip


def _padding(given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ANN401
    """On each rim; for "same" around a kernel of even sides the lesser of the two, where torch has one more on one."""
    if given == "same":
        return tuple(step * (side - 1) // 2 for side, step in zip(kernel, dilation, strict=True))
    return _pair(0 if given == "valid" else given)


def _pair(given: Any) -> tuple[int, ...]:  # noqa: ANN401
    return (given, given) if isinstance(given, int) else tuple(given) * (2 // len(given))


def _integer(argument: object) -> int:
    assert isinstance(argument, int)  # noqa: S101 (for the type checker)
    return argument


def _mixing(
    f: Follower, weight: str, kind: Literal["conv", "linear"], outputs: Numbers, inputs: Numbers, cost: int,
    geometry: Geometry | None, *, inside: int = 1, outside: int = 0,
) -> None:  # fmt: skip
    f.bind(weight, outside, outputs)
    f.bind(weight, inside, inputs)
    f.calls.append(
        Call(
            name=module_name(weight), weight=weight, kind=kind, outputs=outputs, inputs=inputs, input_axis=inside,
            multiply_adds=cost, geometry=geometry,
        )
    )  # fmt: skip


def linear(f: Follower, node: torch.fx.Node) -> Value:
    """A linear layer over the last axis, at any number of positions."""
    rows, kernel = node.all_input_nodes[:2]
    weight = _weight(f, node, 1)
    last = len(shape(rows)) - 1
    count = math.prod(shape(rows)[:-1])
    if weight is None:
        _count_only(f, node, count * math.prod(shape(kernel)))
        return f.stay(node, "a linear layer with computed weights")
    cost = f.of_one_image(node, count)
    source = _on_axis(f, rows, last, node)
    outputs = _outputs(f, weight, shape(kernel)[0], module_name(weight))
    _mixing(f, weight, "linear", outputs, source, cost, Geometry(sides=(cost,)))
    _bias(f, node, 2, outputs)
    return Channels(last, outputs)


def _count_only(f: Follower, node: torch.fx.Node, count: int) -> None:
    """Multiply-adds of a layer whose weights cannot shrink, from those of the whole batch."""
    name, one = module_of(node), np.full(1, FIXED)
    count = f.of_one_image(node, count)
    f.calls.append(Call(name=name, weight="", kind="conv", outputs=one, inputs=one, multiply_adds=count))


def _norm_call(f: Follower, node: torch.fx.Node, weight: str | None, numbers: Numbers) -> None:
    """A norm without weights is known by its module, which may hold numbers of channels or groups."""
    name = module_of(node) if weight is None else module_name(weight)
    f.calls.append(Call(name=name, weight=weight or "", kind="norm", outputs=numbers, inputs=None))


def batch_norm(f: Follower, node: torch.fx.Node) -> Value:
    """Batch and instance norm: channel by channel."""
    numbers = _on_axis(f, node.all_input_nodes[0], 1, node)
    for place in (1, 2, 3, 4):
        _bias(f, node, place, numbers)
    _norm_call(f, node, _weight(f, node, 1), numbers)
    return Channels(1, numbers)


def layer_norm(f: Follower, node: torch.fx.Node) -> Value:
    """Over the channels, whose statistics the masked network then weighs; or over positions."""
    source = node.all_input_nodes[0]
    value = f.value(source)
    sides: Any = node.args[1]
    weight = _weight(f, node, 2)
    if not isinstance(value, Channels):
        return None
    if value.axis < len(shape(source)) - len(sides):
        _fix_norm_weights(f, node)
        return value
    if len(sides) > 1 or weight is None:
        _fix_norm_weights(f, node)
        return f.stay(node, "layer_norm over channels and positions, or without weights,")
    _bias(f, node, 2, value.numbers)
    _bias(f, node, 3, value.numbers)
    f.calls.append(Call(name=module_name(weight), weight=weight, kind="layer_norm", outputs=value.numbers, inputs=None))
    return value


def _fix_norm_weights(f: Follower, node: torch.fx.Node) -> None:
    for given in node.args[2:4]:
        if isinstance(given, torch.fx.Node):
            f.fix(given, "")


def group_norm(f: Follower, node: torch.fx.Node) -> Value:
    """Whole groups of channels leave, so that the statistics of the others stay as they are."""
    source = node.all_input_nodes[0]
    numbers = _on_axis(f, source, 1, node)
    f.bundle(numbers.reshape(_integer(node.args[1]), -1))
    for place in (2, 3):
        _bias(f, node, place, numbers)
    _norm_call(f, node, _weight(f, node, 2), numbers)
    return Channels(1, numbers)


def _weight(f: Follower, node: torch.fx.Node, place: int) -> str | None:
    """Full name of the weight, if it is a plain parameter or buffer."""
    given = node.args[place] if len(node.args) > place else None
    value = f.values.get(given) if isinstance(given, torch.fx.Node) else None
    return value.name if isinstance(value, Leaf) else None


def _outputs(f: Follower, weight: str, count: int, producer: str, *, axis: int = 0) -> Numbers:
    """Fresh numbers for what a weight makes along an axis, the same at every use of it.

    A mask would be laid on a weight of which both axes are read where it is not read as well: all its channels stay.
    """
    if (weight, axis) not in f.made:
        f.made[weight, axis] = f.numbering.fresh(count, producer)
    if (weight, 1 - axis) in f.made:
        for numbers in (f.made[weight, axis], f.made[weight, 1 - axis]):
            f.numbering.fix(numbers, "its weight is read along both axes")
    return f.made[weight, axis]


def _bias(f: Follower, node: torch.fx.Node, place: int, numbers: Numbers) -> None:
    given = node.args[place] if len(node.args) > place else None
    if not isinstance(given, torch.fx.Node):
        return
    value = f.values[given]
    if isinstance(value, Leaf):
        f.bind(value.name, 0, numbers)
    elif isinstance(value, Channels):
        f.numbering.merge(numbers, value.numbers)
    else:
        f.numbering.fix(numbers, "its bias is computed")


def _on_axis(f: Follower, node: torch.fx.Node, axis: int, reader: torch.fx.Node) -> Numbers:
    """The numbers along an axis of an operand, which must be where its channels are."""
    value = f.value(node)
    count = shape(node)[axis]
    if isinstance(value, Channels):
        if value.axis == axis:
            return value.numbers
        f.fix(node, f"{operation(reader)} mixes another axis at {module_of(reader) or reader.name}")
    return np.full(count, FIXED)
