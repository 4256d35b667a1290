"""The network's graph, from torch.export.

torch.export runs the network's own Python code on shapes alone, so control flow, attribute look-ups and helper
functions need no understanding; what remains is a list of some hundred known ATen operations. torch.fx's symbolic
tracing hands proxies to that code instead and fails wherever it asks a tensor for a truth value or a size.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nasprune.copying import copy_of
from nasprune.errors import NetworkError, first_line
from nasprune.tensors import places_of, tensor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A graph of ATen operations, and which of its inputs are the network's own tensors.

    Attributes:
        graph: Nodes in the order of execution; `meta["val"]` holds shapes.
        tensors: Names of parameters and buffers, by the name of their node; of several names the first.
        images: Name of the node that is the network's input; a tensor that its code holds is an input of the graph too.
    """

    graph: torch.fx.Graph
    tensors: Mapping[str, str]
    images: str


def export(network: nn.Module, example: torch.Tensor) -> Exported:
    """The graph of `network` in evaluation mode on an input like `example` (B, bands, H, W).

    Raises:
        NetworkError: if the network does not run on such an input, or cannot be exported, with torch's reason.
    """
    traced = copy_of(network).eval()  # what the network's code keeps of its pass is left in there, and has no values
    logging.getLogger("torch._export").setLevel(logging.ERROR)
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)  # the error says the same
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own code about itself
            program = torch.export.export(traced, (example,), strict=False)
    except Exception as error:  # whatever the network's own code raises
        on = f"on an input of {tuple(example.shape)}"
        try:
            with torch.no_grad():
                copy_of(network).eval()(example)
        except Exception as cause:
            raise NetworkError(
                f"{type(network).__name__} does not run {on}: {first_line(cause)}; "
                "expected a network for images of this size, or other images: many networks need larger ones"
            ) from cause
        raise NetworkError(
            f"{type(network).__name__} does not trace {on}: {first_line(error)}; "
            "expected a network whose steps do not depend on the images' values"
        ) from error
    signature = program.graph_signature
    places = places_of(traced)
    tensors = {
        node: places[id(tensor_of(traced, name))][0]
        for node, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    return Exported(graph=program.graph, tensors=tensors, images=str(signature.user_inputs[0]))


def shape(node: torch.fx.Node) -> tuple[int, ...]:
    """The shape of a node's tensor."""
    value = node.meta["val"]
    return tuple(int(side) for side in value.shape) if isinstance(value, torch.Tensor) else ()


def module_of(node: torch.fx.Node) -> str:
    """Dotted name of the module whose code ran the operation; "" at the top."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def operation(node: torch.fx.Node) -> str:
    """Name of the operation, the same in and out of place: `aten.add_.Tensor` is "add"."""
    if isinstance(node.target, torch._ops.OpOverload):
        name = str(node.target.overloadpacket.__name__)
        return name.rstrip("_") if not name.startswith("_") else name
    return str(getattr(node.target, "__name__", node.target))
