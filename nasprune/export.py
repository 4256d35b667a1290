"""ONNX files: images in, logits out, normalisation inside."""

from __future__ import annotations

import functools
import logging
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from nasprune.copying import copy_of
from nasprune.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nasprune.data.statistics import Statistics


class Normalised(nn.Module):
    """`network` behind the normalisation it was trained with: takes values in [0, 1]."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.network = network
        mean, deviation = torch.tensor(statistics.mean), torch.tensor(statistics.deviation)
        self.register_buffer("scale", (1 / deviation).reshape(1, -1, 1, 1))
        self.register_buffer("shift", -(mean / deviation).reshape(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, bands, H, W)."""
        logits: torch.Tensor = self.network(image * self.scale + self.shift)
        return logits


def export_onnx(
    network: nn.Module,
    statistics: Statistics,
    image_size: int,
    path: Path,
    *,
    batch: int | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write `network` as float32 ONNX: input "image" (batch, bands, S, S) in [0, 1], output "logits" (batch, classes).

    Args:
        network: In evaluation mode.
        statistics: Normalisation it was trained with.
        image_size: S.
        path: The file.
        batch: A batch size fixed in the file, which on-board compilers ask for; None leaves it open.
        about: What the file says of itself, as its metadata.

    Raises:
        NetworkError: if ONNX, or torch's way to it, lacks something that the network does.
    """
    device = next(network.parameters()).device
    module = Normalised(network, statistics).to(device).eval()
    example = torch.rand(batch or 2, len(statistics.mean), image_size, image_size, device=device)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with _operators_read_once(), warnings.catch_warnings():
        # torch 2.11's exporter uses what torch 2.11 has deprecated.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        try:
            exported = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},) if batch is None else None,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause, *_ = str(error.__cause__ or error).strip().partition("\n")[0].split(" See the stack trace")
            raise NetworkError(
                f"the network cannot be exported to ONNX: {cause.rstrip('.')}; expected only what ONNX can express"
            ) from error
    program = cast("torch.onnx.ONNXProgram", exported)  # with dynamo it always is one
    program.model.metadata_props.update(about or {})
    program.save(path, external_data=False)


@contextmanager
def _operators_read_once() -> Iterator[None]:
    """Within, torch's exporter knows its operators from the last file: it reads their source anew for each one.

    That is nearly half of what a small network's file takes. Without, the caller's own exports get theirs unshared.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:  # another torch keeps it elsewhere, and is as slow as it is
        yield
        return
    name = "from_torchlib"
    own = vars(ONNXRegistry)[name]
    setattr(ONNXRegistry, name, staticmethod(_kept(getattr(ONNXRegistry, name).__func__, ONNXRegistry)))
    try:
        yield
    finally:
        setattr(ONNXRegistry, name, own)


@functools.cache
def _kept(read: Callable[..., object], kind: type) -> Callable[..., object]:
    return functools.cache(functools.partial(read, kind))


def check_export(network: nn.Module, statistics: Statistics, image_size: int) -> None:
    """Export a network once to nowhere: before it is trained is the time to find out.

    Raises:
        NetworkError: if it cannot be exported.
    """
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(copy_of(network).eval(), statistics, image_size, Path(folder) / "network.onnx")
