"""Follows channels through a network's traced graph.

The graph comes from `torch.fx`. Each tensor on the way carries a vector with one provisional number per
channel; an operation's rule says what becomes of the vector. Numbers that must be equal are merged in a
union-find structure. An operation without a rule is an error, never a guess.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.fx
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from nasprune.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

FIXED = 0
"""The provisional number of every channel that must stay."""

# Modules and functions that treat every channel by itself and keep their number and order.
CHANNELWISE_MODULES: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh,
    nn.ELU, nn.Mish, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout,
    nn.Dropout2d, nn.Identity,
)  # fmt: skip
CHANNELWISE_FUNCTIONS: frozenset[Callable[..., Any]] = frozenset({
    F.relu, F.relu6, F.silu, F.gelu, F.hardswish, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d,
    F.dropout, torch.relu, torch.sigmoid, torch.tanh,
})  # fmt: skip
CHANNELWISE_METHODS = frozenset({"relu", "relu_", "sigmoid", "tanh", "contiguous"})
JOINS: frozenset[Callable[..., Any]] = frozenset({operator.add, operator.iadd, torch.add})


@dataclass(kw_only=True)
class Call:
    """What tracing learnt of one module with weights; see `coupling.Layer` for the fields."""

    name: str
    kind: Literal["conv", "depthwise", "linear", "norm"]
    outputs: Numbers
    inputs: Numbers | None
    multiply_adds: int


@dataclass
class TracedChannels:
    """Provisional channel numbers, which of them are equal, and the modules met."""

    calls: dict[str, Call] = field(default_factory=dict)
    parents: list[int] = field(default_factory=lambda: [FIXED])
    producers: list[str] = field(default_factory=lambda: [""])

    def fresh(self, count: int, producer: str) -> Numbers:
        """`count` new channel numbers, made by the module `producer`."""
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        self.producers.extend([producer] * count)
        return np.arange(start, start + count)

    def find(self, number: int) -> int:
        """The number that stands for all those equal to `number`."""
        while self.parents[number] != number:
            self.parents[number] = self.parents[self.parents[number]]
            number = self.parents[number]
        return number

    def merge(self, left: Numbers, right: Numbers) -> Numbers:
        """Make two equally long vectors equal, element by element. The smaller number stands for both."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            self.parents[high] = low
        return left

    def number(self) -> tuple[Numbers, list[tuple[str, int, int]]]:
        """Final numbers: a table from provisional to final, and the groups as (name, start, size).

        Channels of modules that share any channel form one group; fixed channels get the number one past
        the last channel.

        Raises:
            NetworkError: if no channel can be pruned.
        """
        roots = np.array([self.find(number) for number in range(len(self.parents))])
        family: dict[str, str] = {}

        def family_of(producer: str) -> str:
            while family.setdefault(producer, producer) != producer:
                producer = family[producer]
            return producer

        for number, root in enumerate(roots.tolist()):
            if root != FIXED:
                ours, theirs = family_of(self.producers[number]), family_of(self.producers[root])
                if ours != theirs:
                    family[ours] = theirs
        members: dict[str, list[int]] = {}
        for number, root in enumerate(roots.tolist()):
            if root == number and root != FIXED:
                members.setdefault(family_of(self.producers[number]), []).append(number)
        if not members:
            raise NetworkError(
                "nothing to prune: every channel of this network is an input or an output; "
                "expected at least one hidden convolution or linear layer"
            )
        total = sum(len(numbers) for numbers in members.values())
        final = np.full(len(roots), total, dtype=np.int64)
        groups = []
        start = 0
        for numbers in members.values():
            final[numbers] = np.arange(start, start + len(numbers))
            groups.append((self.producers[numbers[0]], start, len(numbers)))
            start += len(numbers)
        return final[roots], groups


def trace_channels(network: nn.Module, example: torch.Tensor) -> TracedChannels:
    """Trace `network` on `example` (B, C, H, W) and follow its channels.

    Raises:
        NetworkError: if the network does not trace or an operation is not understood.
    """
    training = network.training
    network.eval()  # batch norm's running statistics must not move
    try:
        graph = torch.fx.symbolic_trace(network)
        with torch.no_grad():
            ShapeProp(graph).propagate(example)
    except (torch.fx.proxy.TraceError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(
            f"{type(network).__name__} does not trace on an input of {tuple(example.shape)}: {reason}"
        ) from error
    finally:
        network.train(training)
    follower = _Follower(graph)
    for node in graph.graph.nodes:
        follower.visit(node)
    return follower.channels


class _Follower:
    """Walks the graph once; one rule per kind of operation."""

    def __init__(self, graph: torch.fx.GraphModule) -> None:
        self.modules = dict(graph.named_modules())
        self.channels = TracedChannels()
        self.vectors: dict[torch.fx.Node, Numbers] = {}

    def visit(self, node: torch.fx.Node) -> None:
        shape = _shape(node)
        if node.op == "placeholder":
            self.vectors[node] = np.full(shape[1], FIXED)
        elif node.op == "output":
            for source in node.all_input_nodes:
                vector = self.vectors[source]
                self.channels.merge(np.full(len(vector), FIXED), vector)
        elif node.op == "call_module":
            self.vectors[node] = self._module(node, self.modules[str(node.target)])
        elif node.op == "call_function" and node.target in JOINS:
            self.vectors[node] = self._join(node)
        elif node.op == "call_function" and node.target is torch.cat:
            self.vectors[node] = self._concatenate(node)
        elif node.target in (torch.flatten, "flatten"):
            self.vectors[node] = self._flatten(node)
        elif node.target in CHANNELWISE_FUNCTIONS or node.target in CHANNELWISE_METHODS:
            self.vectors[node] = self._source(node)
        else:
            raise _not_understood(node)

    def _source(self, node: torch.fx.Node) -> Numbers:
        return self.vectors[node.all_input_nodes[0]]

    def _module(self, node: torch.fx.Node, module: nn.Module) -> Numbers:
        source = self._source(node)
        if isinstance(module, CHANNELWISE_MODULES):
            return source
        if isinstance(module, nn.Flatten):
            return self._flatten(node)
        if isinstance(module, nn.BatchNorm2d):
            return self._channelwise_layer(node, "norm", source, 0)
        positions = int(np.prod(_shape(node)[2:]))
        if isinstance(module, nn.Conv2d):
            kernel = int(np.prod(module.kernel_size))
            if module.groups == 1:
                return self._mixing_layer(node, "conv", source, module.out_channels, kernel * positions)
            if module.groups == module.in_channels == module.out_channels:
                return self._channelwise_layer(node, "depthwise", source, kernel * positions)
        if isinstance(module, nn.Linear) and len(_shape(node)) == 2:
            return self._mixing_layer(node, "linear", source, module.out_features, 1)
        raise _not_understood(node, module)

    def _mixing_layer(
        self, node: torch.fx.Node, kind: Literal["conv", "linear"], source: Numbers, out: int, cost: int
    ) -> Numbers:
        name = str(node.target)
        known = self.channels.calls.get(name)
        if known is not None:  # a shared module: both calls see the same weights
            self.channels.merge(cast("Numbers", known.inputs), source)
            known.multiply_adds += cost
            return known.outputs
        outputs = self.channels.fresh(out, name)
        self.channels.calls[name] = Call(name=name, kind=kind, outputs=outputs, inputs=source, multiply_adds=cost)
        return outputs

    def _channelwise_layer(
        self, node: torch.fx.Node, kind: Literal["norm", "depthwise"], source: Numbers, cost: int
    ) -> Numbers:
        name = str(node.target)
        known = self.channels.calls.get(name)
        if known is not None:
            self.channels.merge(known.outputs, source)
            known.multiply_adds += cost
        else:
            self.channels.calls[name] = Call(name=name, kind=kind, outputs=source, inputs=None, multiply_adds=cost)
        return source

    def _join(self, node: torch.fx.Node) -> Numbers:
        sources = node.all_input_nodes
        if len(sources) == 1:  # a tensor plus a number
            return self.vectors[sources[0]]
        if len({_shape(source) for source in sources}) != 1:
            raise _not_understood(node, reason="its operands differ in shape")
        return self.channels.merge(self.vectors[sources[0]], self.vectors[sources[1]])

    def _concatenate(self, node: torch.fx.Node) -> Numbers:
        axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        if axis not in (1, 1 - len(_shape(node))):
            raise _not_understood(node, reason=f"it joins along axis {axis}, not along the channels")
        return np.concatenate([self.vectors[source] for source in node.all_input_nodes])

    def _flatten(self, node: torch.fx.Node) -> Numbers:
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        vector = self._source(node)
        if len(after) != 2 or after[1] != int(np.prod(before[1:])):
            raise _not_understood(node, reason=f"it turns {before} into {after}")
        return np.repeat(vector, after[1] // len(vector))


def _shape(node: torch.fx.Node) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta")
    return tuple(getattr(meta, "shape", ()))


def _not_understood(node: torch.fx.Node, module: nn.Module | None = None, reason: str = "") -> NetworkError:
    what = type(module).__name__ if module is not None else getattr(node.target, "__name__", str(node.target))
    because = f" ({reason})" if reason else ""
    return NetworkError(
        f"operation {what} at {node.target if module is not None else node.name}{because} is not understood on "
        "a channel path; expected convolutions (plain or depthwise), linear layers, batch norm, pooling, "
        "activations, sums, concatenation and flatten; replace it or prune another network"
    )
