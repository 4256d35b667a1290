"""Latency as a cost: times of single layers, measured on the machine that is the target, as a function of widths.

    python -m nasprune.latency --network resnet18 --classes 21 --image-size 64 --out table.json

A network's latency is taken as the sum over its layers. Each layer's time is measured on a grid of input and output
widths and interpolated linearly in between, so that it is a differentiable function of the widths (as in HALP,
Shen et al. 2022). What happens between layers (sums, pooling) is not in it; activations are.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nasprune.commandline import OneLineParser, in_one_line
from nasprune.cost import by_group
from nasprune.errors import ArtifactError, SettingsError
from nasprune.files import write_json
from nasprune.layer_timing import RUNTIMES, Runtime, time_layer, widths_step
from nasprune.networks import NetworkSettings, build, couple
from nasprune.provenance import machine, processor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nasprune.coupling import Coupling, Layer

_SHARES = (0.0625, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)  # of the full width: a grid of at most 49 points a layer


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Measured times.

    Attributes:
        runtime: "onnxruntime" (CPU) or "torch" (the device torch finds best).
        threads: Of the runtime, on the CPU.
        machine: What it was measured on.
        layers: For each kind of layer (`layer_key`) its `inputs` and `outputs`, falling nowhere, and
            `seconds[i][o]` at batch 1.
    """

    runtime: str
    threads: int
    machine: str
    layers: Mapping[str, Mapping[str, Any]]

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, dataclasses.asdict(self))


def read_table(path: Path) -> LatencyTable:
    """A table from its file.

    Raises:
        ArtifactError: if it is missing or not such a table.
    """
    try:
        content = json.loads(path.read_text())
        return LatencyTable(**{field.name: content[field.name] for field in dataclasses.fields(LatencyTable)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} given as latency table, but {error!r}; make one with python -m nasprune.latency"
        ) from error


def layer_key(layer: Layer) -> str:
    """Names all layers that take the same time at the same widths; "" for a layer that is not measured."""
    geometry = layer.geometry
    if geometry is None or not layer.multiply_adds:
        return ""
    sides = {name: value for name, value in dataclasses.asdict(geometry).items() if isinstance(value, tuple) and value}
    parts = [f"{name}{'x'.join(map(str, value))}" for name, value in sides.items()]
    if geometry.groups > 1:
        parts.append(f"groups{geometry.groups}")
    per_group_width = f" groups of {layer.fixed_inputs}" if layer.inputs is None else ""
    return f"{layer.kind} {' '.join(parts)}{per_group_width}"


def measure(
    coupling: Coupling,
    runtime: Runtime = "onnxruntime",
    *,
    threads: int = 1,
    report: Callable[[str], object] = lambda _: None,
) -> LatencyTable:
    """Time every kind of layer of a network on this machine.

    Args:
        coupling: Of the dense network.
        runtime: See `LatencyTable`.
        threads: For ONNX Runtime; torch takes as many as it is set to.
        report: Is told of every kind of layer once it is measured.

    Raises:
        SettingsError: if the runtime is not known.
    """
    if runtime not in RUNTIMES:
        raise SettingsError(f"latency runtime '{runtime}' given; expected one of {', '.join(RUNTIMES)}")
    widest: dict[str, tuple[Layer, int, int]] = {}
    for layer in coupling.layers:
        key = layer_key(layer)
        if key:
            given, made = _full_widths(layer)
            _, wide, tall = widest.get(key, (layer, 0, 0))
            widest[key] = (layer, max(wide, given), max(tall, made))
    layers = {}
    for number, (key, (layer, wide, tall)) in enumerate(widest.items(), 1):
        inputs = [layer.fixed_inputs] if layer.inputs is None else _grid(wide)
        outputs = _grid(tall, step=widths_step(layer))
        seconds = [[time_layer(layer, given, made, runtime, threads) for made in outputs] for given in inputs]
        layers[key] = {"inputs": inputs, "outputs": outputs, "seconds": _rising(seconds)}
        report(f"{number} of {len(widest)} kinds of layers: {key}")
    where = processor() if runtime == "onnxruntime" else machine()
    if runtime == "torch":
        threads = torch.get_num_threads()
    return LatencyTable(runtime=runtime, threads=threads, machine=where, layers=layers)


def _full_widths(layer: Layer) -> tuple[int, int]:
    """Input and output channels of a layer as it was traced."""
    return layer.fixed_inputs if layer.inputs is None else len(layer.inputs), len(layer.outputs)


def _grid(width: int, *, step: int = 1) -> list[int]:
    return sorted({max(step, round(width * share / step) * step) for share in _SHARES})


def _rising(seconds: list[list[float]]) -> list[list[float]]:
    """Noise and blocking make wider layers seem faster at times; a budget needs costs that never fall."""
    table = np.array(seconds)
    smooth = (np.maximum.accumulate(table, 1) + np.minimum.accumulate(table[:, ::-1], 1)[:, ::-1]) / 2
    smooth = (np.maximum.accumulate(smooth, 0) + np.minimum.accumulate(smooth[::-1], 0)[::-1]) / 2
    rising: list[list[float]] = smooth.tolist()
    return rising


@dataclass(frozen=True, kw_only=True)
class LatencyCost:
    """Seconds of one image as a piecewise bilinear function of the G group widths.

    Attributes:
        inputs: (L, G) input channels each kept channel of a group brings to each layer.
        fixed_inputs: (L,) those that are never pruned.
        outputs: (L, G) the same for output channels.
        fixed_outputs: (L,)
        given: (L, I) grid of input widths.
        made: (L, O) grid of output widths.
        seconds: (L, I, O)
        sizes: (G,) widths of the network that was traced.
        full: Seconds at these sizes.
    """

    inputs: torch.Tensor
    fixed_inputs: torch.Tensor
    outputs: torch.Tensor
    fixed_outputs: torch.Tensor
    given: torch.Tensor
    made: torch.Tensor
    seconds: torch.Tensor
    sizes: torch.Tensor
    full: float

    def __call__(self, widths: torch.Tensor) -> torch.Tensor:
        """Seconds for (..., G) widths, which may be fractions; float64 (...,), differentiable."""
        widths = widths.to(torch.float64)
        row, along = _place(self.given, widths @ self.inputs.T + self.fixed_inputs)
        column, across = _place(self.made, widths @ self.outputs.T + self.fixed_outputs)
        layer = torch.arange(len(self.given), device=widths.device).expand_as(row)
        low = torch.lerp(self.seconds[layer, row, column], self.seconds[layer, row, column + 1], across)
        high = torch.lerp(self.seconds[layer, row + 1, column], self.seconds[layer, row + 1, column + 1], across)
        return torch.lerp(low, high, along).sum(-1)

    def marginal(self, widths: torch.Tensor) -> torch.Tensor:
        """(G,) seconds a channel of each group costs, as the mean over half of its width: single steps are noisy."""
        widths = widths.detach().to(torch.float64)
        halved = widths - torch.diag(widths / 2)
        saved = self(widths) - self(halved)
        return (saved / (widths / 2)).clamp(min=1e-6 * self.full / float(widths.sum()))

    def to(self, device: torch.device) -> LatencyCost:
        """The same cost with its tensors on `device`."""
        tensors = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self) if f.name != "full"}
        return dataclasses.replace(self, **tensors)


def _place(grid: torch.Tensor, width: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where widths (..., L) lie in their grids (L, N): the cell, and how far along it."""
    count = grid.shape[1]
    cell = (width.detach()[..., None] >= grid[:, 1 : count - 1]).sum(-1)
    layer = torch.arange(len(grid), device=grid.device).expand_as(cell)
    low, high = grid[layer, cell], grid[layer, cell + 1]
    return cell, ((width - low) / (high - low)).clamp(0, 1)


def latency_cost(coupling: Coupling, table: LatencyTable) -> LatencyCost:
    """The latency of the network behind `coupling`, by a table measured for the dense one.

    Raises:
        SettingsError: if the table lacks a layer, or was measured for narrower ones.
    """
    layers = [(layer, layer_key(layer)) for layer in coupling.layers]
    layers = [(layer, key) for layer, key in layers if key]
    grids = []
    for layer, key in layers:
        if key not in table.layers:
            raise SettingsError(
                f"the latency table, measured on {table.machine}, lacks the layer {layer.name} ({key}); "
                "measure one for this network and image size"
            )
        grid = table.layers[key]
        for side, width in zip(("inputs", "outputs"), _full_widths(layer), strict=True):
            if width > grid[side][-1]:  # all wider layers would seem to take the last time
                raise SettingsError(
                    f"the latency table, measured on {table.machine}, has the layer {layer.name} ({key}) with at most "
                    f"{grid[side][-1]} {side}, here it has {width}; measure one for this network, its classes and bands"
                )
        grids.append(grid)
    given, made, seconds = _padded(grids)
    channels = by_group(coupling, [(layer.outputs, layer.inputs, layer.fixed_inputs) for layer, _ in layers])
    parts = channels | {"given": given, "made": made, "seconds": seconds}
    return LatencyCost(**parts, full=float(LatencyCost(**parts, full=1.0)(parts["sizes"])))


def _padded(grids: list[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grids of one size: each begins at width 0 with half its first time, and goes on level after its last."""
    rows = 1 + max(len(grid["inputs"]) for grid in grids) + 1
    columns = 1 + max(len(grid["outputs"]) for grid in grids) + 1
    given, made = torch.zeros(len(grids), rows).double(), torch.zeros(len(grids), columns).double()
    seconds = torch.zeros(len(grids), rows, columns).double()
    for index, grid in enumerate(grids):
        for target, widths in ((given[index], grid["inputs"]), (made[index], grid["outputs"])):
            target[1 : len(widths) + 1] = torch.tensor(widths)
            target[len(widths) + 1 :] = widths[-1] + torch.arange(1, len(target) - len(widths))
        known = torch.tensor(grid["seconds"]).double()
        inner = seconds[index, 1 : len(known) + 1, 1 : known.shape[1] + 1]
        inner.copy_(known)
        seconds[index, len(known) + 1 :] = seconds[index, len(known)]
        seconds[index, :, known.shape[1] + 1 :] = seconds[index, :, known.shape[1], None]
        seconds[index, 0] = seconds[index, 1] / 2
        seconds[index, :, 0] = seconds[index, :, 1] / 2
    return given, made, seconds


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """The command line."""
    parser = OneLineParser(
        prog="python -m nasprune.latency",
        description="Measure a network's layers on this machine, for --cost latency.",
    )
    parser.add_argument(
        "--network", required=True, help="of torchvision, resnet10, timm:NAME, or package.module:function"
    )
    parser.add_argument(
        "--head", default="original", help="original (default), or pooled for VGG without its linear layers"
    )
    parser.add_argument("--classes", type=int, required=True, metavar="N", help="classes of the data set")
    parser.add_argument("--image-size", type=int, required=True, metavar="N", help="side of the images in pixels")
    parser.add_argument("--bands", type=int, default=3, metavar="N", help="how many bands images have (default: 3)")
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="onnxruntime",
        help="what runs the layers, in float32: onnxruntime (default) on the CPU, or torch on the device it finds best",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of onnxruntime (default: 1); torch takes as many as it likes"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, for --latency-table")
    given = parser.parse_args()
    if given.threads is not None and given.runtime == "torch":
        raise SettingsError("threads given with --runtime torch, which takes as many as it likes; leave them out")
    threads = 1 if given.threads is None else given.threads
    if threads < 1:
        raise SettingsError(f"threads {threads} given; expected at least 1")
    if given.out.is_dir() or not given.out.absolute().parent.is_dir():
        raise SettingsError(f"out {given.out} given; expected a file in a folder that exists")
    settings = NetworkSettings(
        network=given.network, head=given.head, classes=given.classes, image_size=given.image_size,
        bands=given.bands,
    )  # fmt: skip
    coupling = couple(build(settings), settings)
    table = measure(coupling, given.runtime, threads=threads, report=_say)
    table.write(given.out)
    sys.stdout.write(f"{given.out}: {1e3 * latency_cost(coupling, table).full:.2f} ms an image, summed over layers\n")
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
