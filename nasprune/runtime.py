"""ONNX files under ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from nasprune.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import onnxruntime

    from nasprune.data.batches import Batches


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


def check_onnx(path: Path, *, classes: int, image_size: int, bands: int) -> None:
    """Make sure that a file takes images of this size and these bands, and tells this many classes apart.

    Raises:
        ArtifactError: if not, or if ONNX Runtime cannot load it.
    """
    session = onnx_session(path)
    found = {value.name: list(value.shape[1:]) for value in (*session.get_inputs(), *session.get_outputs())}
    expected = {"image": [bands, image_size, image_size], "logits": [classes]}
    if found != expected:
        told = ("; ".join(f"{name} (batch, {', '.join(map(str, shape))})" for name, shape in kind.items())
                for kind in (found, expected))  # fmt: skip
        raise ArtifactError("{} holds {}; expected {}; take the point from its study again".format(path, *told))


def onnx_logits(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logits (B, classes) of an exported file for images (B, bands, S, S) in [0, 1]."""
    (logits,) = onnx_session(path).run(["logits"], {"image": images})
    return cast("npt.NDArray[np.float32]", logits)


def evaluate_onnx(session: onnxruntime.InferenceSession, batches: Batches) -> float:
    """Accuracy in 0..1 of an exported file under ONNX Runtime, on all images of `batches`: pixels in [0, 1]."""
    right = 0
    for images, labels in batches.epoch(0):
        (logits,) = session.run(["logits"], {"image": images.cpu().numpy()})
        right += int((np.asarray(cast("object", logits)).argmax(1) == labels.cpu().numpy()).sum())
    return right / batches.images_count
