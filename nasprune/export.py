"""ONNX files: images in, logits out, normalisation inside."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from nasprune.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnxruntime

    from nasprune.data.batches import Batches
    from nasprune.data.statistics import Statistics


class Normalised(nn.Module):
    """`network` behind the normalisation it was trained with: takes RGB in [0, 1]."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, statistics: Statistics) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", 1 / torch.tensor(statistics.deviation).reshape(1, 3, 1, 1))
        self.register_buffer(
            "shift", -(torch.tensor(statistics.mean) / torch.tensor(statistics.deviation)).reshape(1, 3, 1, 1)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, 3, H, W)."""
        logits: torch.Tensor = self.network(image * self.scale + self.shift)
        return logits


def export_onnx(
    network: nn.Module, statistics: Statistics, image_size: int, path: Path, *, batch: int | None = None
) -> None:
    """Write `network` as float32 ONNX: input "image" (batch, 3, S, S) in [0, 1], output "logits" (batch, classes).

    Args:
        network: In evaluation mode.
        statistics: Normalisation it was trained with.
        image_size: S.
        path: The file.
        batch: A batch size fixed in the file, which on-board compilers ask for; None leaves it open.
    """
    device = next(network.parameters()).device
    module = Normalised(network, statistics).to(device).eval()
    example = torch.rand(batch or 2, 3, image_size, image_size, device=device)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # torch 2.11's exporter uses what torch 2.11 has deprecated.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if batch is None else None,
            external_data=False,
            verbose=False,
        )


def onnx_session(path: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """A file under ONNX Runtime on the CPU.

    Args:
        path: The file.
        threads: How many; 0 leaves the choice to ONNX Runtime.

    Raises:
        ArtifactError: if ONNX Runtime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common type but Exception
        raise ArtifactError(f"{path} is not a model ONNX Runtime can load: {error}") from error


def check_onnx(path: Path, *, classes: int, image_size: int) -> None:
    """Make sure that a file takes images of this size and tells this many classes apart.

    Raises:
        ArtifactError: if not, or if ONNX Runtime cannot load it.
    """
    session = onnx_session(path)
    found = {value.name: list(value.shape[1:]) for value in (*session.get_inputs(), *session.get_outputs())}
    expected = {"image": [3, image_size, image_size], "logits": [classes]}
    if found != expected:
        told = ("; ".join(f"{name} (batch, {', '.join(map(str, shape))})" for name, shape in kind.items())
                for kind in (found, expected))  # fmt: skip
        raise ArtifactError("{} holds {}; expected {}; take the point from its study again".format(path, *told))


def onnx_logits(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits (B, classes) of an exported file for images (B, 3, S, S) in [0, 1]."""
    (logits,) = onnx_session(path).run(["logits"], {"image": images})
    return cast("npt.NDArray[np.float32]", logits)


def evaluate_onnx(path: Path, batches: Batches) -> float:
    """Accuracy in 0..1 of an exported file under ONNX Runtime, on all images of `batches`.

    Args:
        path: The file.
        batches: Batches of pixels in [0, 1]: not augmented, not normalised (`Statistics` of mean 0 and deviation 1).

    Raises:
        ArtifactError: if ONNX Runtime cannot load the file or it has another input.
    """
    runtime = onnx_session(path)
    right = 0
    for images, labels in batches.epoch(0):
        (logits,) = runtime.run(["logits"], {"image": images.cpu().numpy()})
        right += int((np.asarray(cast("object", logits)).argmax(1) == labels.cpu().numpy()).sum())
    return right / batches.images_count
