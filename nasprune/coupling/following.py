"""What is known while the graph is walked, and how channels are tied or told to stay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nasprune.coupling.exporting import Exported, module_of, operation, shape
from nasprune.coupling.numbering import FIXED, Numbering
from nasprune.coupling.operations import MAKE, REPEAT

if TYPE_CHECKING:
    import torch

    from nasprune.coupling.numbering import Numbers
    from nasprune.coupling.result import Geometry


@dataclass(frozen=True)
class Channels:
    """Numbers along one axis of a tensor."""

    axis: int
    numbers: Numbers


@dataclass(frozen=True)
class Leaf:
    """A parameter or buffer that no operation has changed yet."""

    name: str


Value = Channels | Leaf | list[Any] | None
"""What is known of a node; None where all its channels stay, a list for several tensors."""


@dataclass(kw_only=True)
class Call:
    """What was learnt of one use of a module with weights; see `coupling.Layer` for the fields."""

    name: str
    weight: str
    kind: Literal["conv", "depthwise", "linear", "norm", "layer_norm"]
    outputs: Numbers
    inputs: Numbers | None
    input_axis: int = 1
    fixed_inputs: int = 1
    multiply_adds: int = 0
    geometry: Geometry | None = None


@dataclass
class Follower:
    """Walks the graph once."""

    exported: Exported
    numbering: Numbering = field(default_factory=Numbering)
    calls: list[Call] = field(default_factory=list)
    axes: dict[tuple[str, int], Numbers] = field(default_factory=dict)
    values: dict[torch.fx.Node, Value] = field(default_factory=dict)
    made: dict[tuple[str, int], Numbers] = field(default_factory=dict)
    of_images: set[torch.fx.Node] = field(default_factory=set)
    batch: int = 1

    def value(self, node: torch.fx.Node) -> Channels | list[Any] | None:
        """Of an operand: a parameter that has one axis gets numbers of its own, which are nobody's yet."""
        value = self.values[node]
        if not isinstance(value, Leaf):
            return value
        sides = shape(node)
        long = [axis for axis, side in enumerate(sides) if side > 1]
        if len(long) != 1:
            self.fix_leaf(value.name, sides)
            return None
        numbers = self.numbering.fresh(sides[long[0]], "")
        self.bind(value.name, long[0], numbers)
        return Channels(long[0], numbers)

    def bind(self, tensor: str, axis: int, numbers: Numbers) -> None:
        """Let numbers run along the axis of a parameter or buffer."""
        known = self.axes.setdefault((tensor, axis), numbers)
        if known is not numbers:
            self.numbering.merge(known, numbers)

    def fix_leaf(self, tensor: str, sides: tuple[int, ...]) -> None:
        """A parameter or buffer keeps its shape."""
        for axis, side in enumerate(sides):
            if side > 1:
                self.bind(tensor, axis, np.full(side, FIXED))

    def fix(self, node: torch.fx.Node, reason: str) -> None:
        """The channels of an operand stay."""
        value = self.values[node]
        if isinstance(value, Leaf):
            self.fix_leaf(value.name, shape(node))
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Channels):
                self.numbering.fix(one.numbers, reason)

    def stay(self, node: torch.fx.Node, why: str) -> Value:
        """All channels that meet here stay, and those of the result."""
        for source in node.all_input_nodes:
            self.fix(source, f"{why} at {module_of(node) or node.name}")
        return None

    def bundle(self, bundles: Numbers) -> None:
        """Merge along the last axis: (bundles, members)."""
        for member in range(1, bundles.shape[1]):
            self.numbering.merge(bundles[:, 0].copy(), bundles[:, member].copy())

    def meet(self, node: torch.fx.Node) -> None:
        """Note whether there is more of a tensor with more images; what comes of parameters alone is there once."""
        name, sources = operation(node), node.all_input_nodes
        if node.name == self.exported.images:
            self.batch = shape(node)[0]
            self.of_images.add(node)
        elif name not in MAKE and any(source in self.of_images for source in sources):
            self.of_images.add(node)
        elif name in REPEAT and shape(node)[:1] == (self.batch,):  # their sizes are numbers
            if all(source in self.of_images or shape(source)[:1] != (self.batch,) for source in sources):
                self.of_images.add(node)

    def of_one_image(self, node: torch.fx.Node, count: int) -> int:
        """Of `count` things that an operation does, those of one image; never 0, or a channel would cost nothing."""
        return -(-count // self.batch) if node in self.of_images else count

    def uses(self) -> list[Numbers]:
        """Every vector along which it matters how often a channel appears."""
        weighty = [call for call in self.calls if call.weight]
        found = [call.outputs for call in weighty] + [call.inputs for call in weighty if call.inputs is not None]
        return found + list(self.axes.values())


def module_name(tensor: str) -> str:
    """Of a parameter or buffer: the dotted name of its module."""
    return tensor.rpartition(".")[0] or tensor
