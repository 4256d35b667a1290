"""How long one layer takes at given widths, under ONNX Runtime or torch.

Within a network a layer's weights were last read one image ago: by the time it is their turn again, those of all other
layers have passed through the caches. A layer that runs alone, again and again, would find its weights there and seem
faster, by half in networks whose weights exceed the caches. So the caches are overwritten before every run. Then
calling the runtime is slow, too, often slower than the layer: so several layers of the same shape, each with weights of
its own, run in one call, each added to the one before as in a residual network, and share what the call takes.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional as F

from nasprune.coupling.result import Geometry, Layer

if TYPE_CHECKING:
    import onnxruntime

Runtime = Literal["onnxruntime", "torch"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "torch")
_SECONDS, _LEAST, _MOST = 0.01, 7, 15  # time to spend on a measurement, and how many runs that may be
_CACHES = 64_000_000  # bytes, more than the caches of most processors and of most GPUs
_TOGETHER = 8  # layers in one call at most; fewer where their weights would be more than the caches hold


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """Layers ready to run.

    Attributes:
        count: How many of them, all of one shape, reading one input.
        run: Each of them once.
        cool: Everything out of the caches, then the input in.
    """

    count: int
    run: Callable[[], object]
    cool: Callable[[], object]


def time_layer(layer: Layer, given: int, made: int, runtime: Runtime, threads: int) -> float:
    """Seconds of one layer and its activation at these widths, batch 1: the median of several runs, see above."""
    layers = _ready(layer, given, made, runtime, threads)
    seconds = _median(layers)
    return max(seconds - _calling(runtime, threads), seconds / 20) / layers.count


@functools.cache
def _calling(runtime: Runtime, threads: int) -> float:
    """Seconds of calling the runtime with nothing to do, of which a network has one call for all its layers."""
    one = torch.zeros(1, dtype=torch.int64)
    least = Geometry(kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), sides=(1, 1))
    layer = Layer(name="", weight="", kind="conv", outputs=one, inputs=one, multiply_adds=1, geometry=least)
    return statistics.median(_median(_ready(layer, 1, 1, runtime, threads, count=1)) for _ in range(5))


def _ready(layer: Layer, given: int, made: int, runtime: Runtime, threads: int, *, count: int = _TOGETHER) -> _Layers:
    assert layer.geometry is not None  # noqa: S101 (callers measure only layers that have one)
    shape = (made, given, *layer.geometry.kernel)
    count = max(1, min(count, _CACHES // (4 * math.prod(shape))))
    if runtime == "onnxruntime":
        return _onnx_layers(layer, shape, count, threads)
    return _torch_layers(layer, shape, count)


def _median(layers: _Layers) -> float:
    for _ in range(2):
        layers.run()
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < _SECONDS and len(times) < _MOST):
        layers.cool()
        before = time.perf_counter()
        layers.run()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def _groups(layer: Layer, made: int) -> int:
    assert layer.geometry is not None  # noqa: S101 (callers measure only layers that have one)
    return made // widths_step(layer) if layer.inputs is None else layer.geometry.groups


def _onnx_layers(layer: Layer, shape: tuple[int, ...], count: int, threads: int) -> _Layers:
    groups = _groups(layer, shape[0])
    sides = _input_shape(layer, shape[1] * groups)
    session = _session(layer, shape, groups, count, threads)
    x = np.random.default_rng(0).random(sides, dtype=np.float32)
    others = np.zeros(_CACHES, dtype=np.uint8)

    def cool() -> None:
        np.add(others, 1, out=others)
        x.sum()

    return _Layers(count=count, run=lambda: session.run(None, {"x": x}), cool=cool)


def _torch_layers(layer: Layer, shape: tuple[int, ...], count: int) -> _Layers:
    geometry, groups = layer.geometry, _groups(layer, shape[0])
    assert geometry is not None  # noqa: S101 (callers measure only layers that have one)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.rand(_input_shape(layer, shape[1] * groups), device=device)
    weights = [torch.rand(shape, device=device) for _ in range(count)]
    if geometry.kernel:
        x, *weights = (t.contiguous(memory_format=torch.channels_last) for t in (x, *weights))
    others = torch.zeros(_CACHES, dtype=torch.uint8, device=device)

    def cool() -> None:
        others.add_(1)
        x.sum()
        if device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def run() -> None:
        before = None
        for weight in weights:
            if geometry.kernel:
                y = F.conv2d(x, weight, None, geometry.stride, geometry.padding, geometry.dilation, groups)
            else:
                y = F.linear(x, weight)
            before = (y if before is None else y.add_(before)).relu_()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return _Layers(count=count, run=run, cool=cool)


def _input_shape(layer: Layer, channels: int) -> tuple[int, ...]:
    assert layer.geometry is not None  # noqa: S101 (callers measure only layers that have one)
    sides = layer.geometry.sides
    return (1, channels, *sides) if layer.geometry.kernel else (*sides, channels)


def _session(
    layer: Layer, shape: tuple[int, ...], groups: int, count: int, threads: int
) -> onnxruntime.InferenceSession:
    """Layers of random weights, each with its activation, alone in an ONNX graph: input "x"."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    geometry = layer.geometry
    assert geometry is not None  # noqa: S101 (callers measure only layers that have one)
    chance, nodes, weights = np.random.default_rng(1), [], []
    for place in range(count):
        weight, made, before = chance.random(shape, dtype=np.float32), f"y{place}", f"z{place - 1}"
        if geometry.kernel:
            node = helper.make_node(
                "Conv", ["x", f"w{place}"], [made], kernel_shape=geometry.kernel, strides=geometry.stride,
                pads=[*geometry.padding, *geometry.padding], dilations=geometry.dilation, group=groups,
            )  # fmt: skip
        else:
            node, weight = helper.make_node("MatMul", ["x", f"w{place}"], [made]), np.ascontiguousarray(weight.T)
        nodes.append(node)
        if place:
            nodes.append(helper.make_node("Add", [made, before], [f"s{place}"]))
            made = f"s{place}"
        nodes.append(helper.make_node("Relu", [made], [f"z{place}"]))
        weights.append(numpy_helper.from_array(weight, f"w{place}"))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, _input_shape(layer, shape[1] * groups))],
        [helper.make_tensor_value_info(f"z{count - 1}", TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def widths_step(layer: Layer) -> int:
    """By how many output channels a layer grows: those of a group that leaves whole, or one of each group."""
    if layer.inputs is not None:
        return 1 if layer.geometry is None else layer.geometry.groups
    return max(1, len(layer.outputs) // max(1, len(set(layer.outputs.tolist()))))
