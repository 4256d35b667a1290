"""What each operation does to the channels of its tensors.

Every tensor on the way has at most one axis of channels, with one provisional number per entry. An operation's rule
says what becomes of them. Rules fall into few kinds, and an operation of no kind is an error, never a guess:

- entry by entry: operands are aligned as they broadcast, and their channels merged;
- moves (views, transposes, joins, splits): the operation itself is run on a tensor of numbers;
- channel by channel over positions: pooling, padding, resizing;
- mixing: convolutions, linear layers and norms, which name the axes of their weights;
- understood, but of such a kind that the channels must stay: reductions and softmax over channels, attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nasprune.coupling import elementwise, mixing, moves, operations
from nasprune.coupling.exporting import module_of, operation
from nasprune.coupling.following import Follower, Leaf, Value
from nasprune.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nasprune.coupling.exporting import Exported


def follow(exported: Exported) -> Follower:
    """Visit every operation.

    Raises:
        NetworkError: if one is not understood.
    """
    follower = Follower(exported)
    for node in exported.graph.find_nodes(op="placeholder"):
        follower.meet(node)
        name = exported.tensors.get(node.name)
        follower.values[node] = None if name is None else Leaf(name)
    _walk(follower, exported.graph)
    for source in exported.graph.output_node().all_input_nodes:
        follower.fix(source, "it makes the network's output")
    return follower


def _walk(f: Follower, graph: torch.fx.Graph) -> None:
    """Visit the operations of a graph whose inputs are known."""
    for node in graph.nodes:
        if node.op == "call_function":
            f.meet(node)
            f.values[node] = _visit(f, node)
        elif node.op == "get_attr":
            f.values[node] = None  # a graph in this one, walked where it is called


def _visit(f: Follower, node: torch.fx.Node) -> Value:
    name = operation(node)
    if name in _RULES:
        return _RULES[name](f, node)
    if name in operations.STAY:
        return f.stay(node, f"{name} reads across channels")
    if name in operations.MAKE or all(f.value(source) is None for source in node.all_input_nodes):
        return None  # whatever it does, no channel that could leave is touched
    raise _not_understood(node)


def _getitem(f: Follower, node: torch.fx.Node) -> Value:
    several, place = f.values[node.all_input_nodes[0]], node.args[1]
    return several[place] if isinstance(several, list) and isinstance(place, int) else None


def _inside(f: Follower, node: torch.fx.Node) -> Value:
    """What runs under `torch.no_grad` or `torch.autocast` has a graph of its own."""
    held = node.all_input_nodes[0]
    graph = getattr(node.graph.owning_module, str(held.target)).graph
    operands = node.args[node.args.index(held) + 1 :]
    for inner, operand in zip(graph.find_nodes(op="placeholder"), operands, strict=True):
        f.values[inner] = f.values[operand] if isinstance(operand, torch.fx.Node) else None
        if operand in f.of_images:
            f.of_images.add(inner)
    _walk(f, graph)
    return [f.values.get(made) for made in graph.output_node().args[0]]


_RULES: Mapping[str, Callable[[Follower, torch.fx.Node], Value]] = {
    "getitem": _getitem,
    **dict.fromkeys(operations.ENTRYWISE, elementwise.entrywise),
    **dict.fromkeys(operations.ALIKE, elementwise.alike),
    **dict.fromkeys(operations.INSIDE, _inside),
    "prelu": elementwise.prelu,
    **dict.fromkeys(operations.OVER_POSITIONS, elementwise.over_positions),
    **dict.fromkeys(operations.REDUCTIONS, elementwise.reduce),
    **dict.fromkeys(operations.ALONG_AN_AXIS, elementwise.along_an_axis),
    **dict.fromkeys(operations.MOVES, moves.move),
    "pixel_shuffle": moves.pixel_shuffle,
    **dict.fromkeys(operations.CONVOLUTIONS, mixing.convolution),
    "linear": mixing.linear,
    "batch_norm": mixing.batch_norm,
    "instance_norm": mixing.batch_norm,
    "layer_norm": mixing.layer_norm,
    "group_norm": mixing.group_norm,
}


def _not_understood(node: torch.fx.Node) -> NetworkError:
    return NetworkError(
        f"operation {operation(node)} at {module_of(node) or node.name} is not understood on a channel path; expected "
        "convolutions, linear layers, norms, pooling, activations, sums, products, concatenation, splits and views; "
        "replace it or prune another network"
    )
