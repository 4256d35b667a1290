"""How long one layer takes at given widths, under ONNX Runtime or torch.

Within a network a layer's weights were last read one image ago: by the time it is their turn again, those of all other
layers have passed through the caches. A layer that runs alone, again and again, would find its weights there and seem
faster, by half in networks whose weights exceed the caches. So the caches are overwritten before every run, and what
the layer before would have left there, the input, is read once. What calling the runtime costs then is taken off again.
"""

from __future__ import annotations

import functools
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


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A layer ready to run.

    Attributes:
        run: The layer once.
        cool: Everything out of the caches, then the input in.
    """

    run: Callable[[], object]
    cool: Callable[[], object]


def time_layer(layer: Layer, given: int, made: int, runtime: Runtime, threads: int) -> float:
    """Seconds of one layer and its activation at these widths, batch 1: the median of several runs, see above."""
    seconds = _median(_ready(layer, given, made, runtime, threads))
    return max(seconds - _calling(runtime, threads), seconds / 20)


@functools.cache
def _calling(runtime: Runtime, threads: int) -> float:
    """Seconds of calling the runtime with nothing to do, of which a network has one call for all its layers."""
    one = torch.zeros(1, dtype=torch.int64)
    least = Geometry(kernel=(1, 1), stride=(1, 1), padding=(0, 0), dilation=(1, 1), sides=(1, 1))
    layer = Layer(name="", weight="", kind="conv", outputs=one, inputs=one, multiply_adds=1, geometry=least)
    return statistics.median(_median(_ready(layer, 1, 1, runtime, threads)) for _ in range(5))


def _ready(layer: Layer, given: int, made: int, runtime: Runtime, threads: int) -> _Trial:
    if runtime == "onnxruntime":
        return _onnx_layer(layer, given, made, threads)
    return _torch_layer(layer, given, made)


def _median(trial: _Trial) -> float:
    for _ in range(2):
        trial.run()
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < _SECONDS and len(times) < _MOST):
        trial.cool()
        before = time.perf_counter()
        trial.run()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def _groups(layer: Layer, made: int) -> int:
    return made // outputs_a_group(layer) if layer.inputs is None else 1


def _onnx_layer(layer: Layer, given: int, made: int, threads: int) -> _Trial:
    assert layer.geometry is not None  # noqa: S101 (callers measure only layers that have one)
    groups = _groups(layer, made)
    shape = _input_shape(layer, given * groups)
    session = _session(layer.geometry, given, made, groups, shape, threads)
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    others = np.zeros(_CACHES, dtype=np.uint8)

    def cool() -> None:
        np.add(others, 1, out=others)
        x.sum()

    return _Trial(run=lambda: session.run(None, {"x": x}), cool=cool)


def _torch_layer(layer: Layer, given: int, made: int) -> _Trial:
    geometry, groups = layer.geometry, _groups(layer, made)
    assert geometry is not None  # noqa: S101 (callers measure only layers that have one)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.rand(_input_shape(layer, given * groups), device=device)
    weight = torch.rand((made, given, *geometry.kernel), device=device)
    if geometry.kernel:
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))

    others = torch.zeros(_CACHES, dtype=torch.uint8, device=device)

    def cool() -> None:
        others.add_(1)
        x.sum()
        if device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def run() -> None:
        if geometry.kernel:
            F.conv2d(x, weight, None, geometry.stride, geometry.padding, geometry.dilation, groups).relu_()
        else:
            F.linear(x, weight).relu_()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return _Trial(run=run, cool=cool)


def _input_shape(layer: Layer, channels: int) -> tuple[int, ...]:
    assert layer.geometry is not None  # noqa: S101 (callers measure only layers that have one)
    sides = layer.geometry.sides
    return (1, channels, *sides) if layer.geometry.kernel else (*sides, channels)


def _session(
    geometry: Geometry, given: int, made: int, groups: int, shape: tuple[int, ...], threads: int
) -> onnxruntime.InferenceSession:
    """A layer of random weights, and its activation, alone in an ONNX graph: input "x"."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(1).random((made, given, *geometry.kernel), dtype=np.float32)
    if geometry.kernel:
        node = helper.make_node(
            "Conv", ["x", "w"], ["y"], kernel_shape=geometry.kernel, strides=geometry.stride,
            pads=[*geometry.padding, *geometry.padding], dilations=geometry.dilation, group=groups,
        )  # fmt: skip
    else:
        node, weight = helper.make_node("MatMul", ["x", "w"], ["y"]), np.ascontiguousarray(weight.T)
    graph = helper.make_graph(
        [node, helper.make_node("Relu", ["y"], ["z"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs_a_group(layer: Layer) -> int:
    """Output channels of each group of a grouped convolution whose groups leave whole."""
    return max(1, len(layer.outputs) // max(1, len(set(layer.outputs.tolist()))))
