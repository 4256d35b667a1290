"""Files for the target board: batch 1 fixed, float32 and INT8, each measured as the file it is.

    python -m nasprune.shipping runs/<study>/points/<point> --data-dir runs/shared/data

INT8 is static and in QDQ form, with symmetric weights for each output channel and activations calibrated on training
images: what ONNX Runtime, TensorRT, OpenVINO and Vitis AI all take.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nasprune.artifact import Artifact, load_data, read_artifact
from nasprune.commandline import OneLineParser, in_one_line
from nasprune.errors import DataError
from nasprune.export import export_onnx
from nasprune.files import replacing, write_json
from nasprune.provenance import processor
from nasprune.record import BOARD_FILES, BOARD_REPORT, about
from nasprune.runtime import evaluate_onnx, onnx_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from nasprune.data import Batches, SceneData

CALIBRATION_IMAGES = 256
_LIMITS = {"fits_5_mb": 5_000_000, "fits_1_mb": 1_000_000}
_ALIKE = 2  # the largest ratio of deviations at which bands share a scale of 8 bits
_SECONDS, _LEAST = 0.5, 30  # of a latency measurement


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A file under ONNX Runtime on the CPU.

    Attributes:
        bytes: Its size.
        fits_5_mb: Whether that is at most 5 MB.
        fits_1_mb: Whether that is at most 1 MB.
        latency_ms: Of one image on one thread: the median of many runs.
        val_accuracy: On the validation images, in 0..1: what a choice by these figures goes by.
        test_accuracy: In 0..1.
        difference: Largest difference of its logits from torch's on test images, over the largest logit.
    """

    bytes: int
    fits_5_mb: bool
    fits_1_mb: bool
    latency_ms: float
    val_accuracy: float
    test_accuracy: float
    difference: float


def ship(artifact: Artifact, data: SceneData, directory: Path) -> dict[str, Measured]:
    """Write a point's files for the board, and measure them.

    Latency is that of this machine as busy as it is now. What all files measure is written last.

    Args:
        artifact: The point.
        data: The data set it was trained on.
        directory: Where the files go, from one call at a time; those already there are replaced, once both are whole.

    Returns:
        By precision, as `BOARD_FILES`.

    Raises:
        DataError: if they, or what they measure, cannot be written.
    """
    paths = {precision: directory / name for precision, name in BOARD_FILES.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {directory} ({error.strerror}); choose another folder") from error
    with replacing(paths["float32"]) as float32, replacing(paths["int8"]) as int8:
        export_onnx(
            artifact.network, artifact.statistics, data.image_size, float32, batch=1, about=about(artifact.record)
        )
        quantise(
            float32, int8, data.pixels("train", batch_size=1),
            whole=not _needs_more_than_8_bits(data.images.bit_depth, artifact.statistics.deviation),
        )  # fmt: skip
        (directory / BOARD_REPORT).unlink(missing_ok=True)  # it is of the files that go
    measured = {precision: measure(path, artifact, data) for precision, path in paths.items()}
    write_json(
        directory / BOARD_REPORT, {"machine": processor(), **{name: asdict(each) for name, each in measured.items()}}
    )
    return measured


def _needs_more_than_8_bits(bit_depth: int, deviations: Sequence[float]) -> bool:
    """Whether the normalisation of images loses much in 8 bits.

    Values of 16 bits do not fit, least of all where one band lies far above another. Nor do those of 8 bits where a
    band varies little: divided by its deviation it is a large number, and all bands share one scale.
    """
    return bit_depth > 8 or max(deviations) > _ALIKE * min(deviations)


def quantise(source: Path, target: Path, images: Batches, *, whole: bool) -> None:
    """Write the INT8 form of a float32 file.

    Args:
        source: ONNX with a fixed batch of 1.
        target: The file to be written.
        images: Batches of one training image each, in [0, 1]; `CALIBRATION_IMAGES` from all over are used.
        whole: Whether the normalisation is quantised, too; otherwise it stays float32, and what it makes is quantised.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images: Iterator[npt.NDArray[np.float32]] = _spread(images)

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            image = next(self._images, None)
            return None if image is None else {"image": image}

    prepared = target.with_suffix(".prepared")
    try:
        logging.disable(logging.WARNING)  # it warns of its own steps
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        scale = next(node for node in nodes if "image" in node.input)
        shift = next(node for node in nodes if scale.output[0] in node.input)
        quantize_static(
            prepared, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, extra_options={"WeightSymmetric": True},
            nodes_to_exclude=[] if whole else [scale.name, shift.name],
        )  # fmt: skip
        _keep_used_operators(target)
    finally:
        logging.disable(logging.NOTSET)
        prepared.unlink(missing_ok=True)


def _keep_used_operators(path: Path) -> None:
    """Drop the sets of operators that no node of a file uses, which its quantiser names: a board need not know them."""
    import onnx

    model = onnx.load(path)
    used = {node.domain for node in model.graph.node}
    kept = [operators for operators in model.opset_import if operators.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)


def _spread(images: Batches) -> Iterator[npt.NDArray[np.float32]]:
    """Images from all over the data set, which lies class by class."""
    there = len(images)
    wanted = min(there, CALIBRATION_IMAGES)
    for number, (image, _) in enumerate(images.epoch(0)):
        if (number + 1) * wanted // there > number * wanted // there:  # the last one of its share of the data set
            yield image.numpy()


def measure(path: Path, artifact: Artifact, data: SceneData) -> Measured:
    """Size, latency, accuracy and parity of a file with a fixed batch of 1."""
    session = onnx_session(path, threads=1)
    scale = 1 / torch.tensor(artifact.statistics.deviation)[:, None, None]
    mean = torch.tensor(artifact.statistics.mean)[:, None, None]
    right, difference, largest = 0, 0.0, 0.0
    test = data.pixels("test", batch_size=1)
    feed = {}
    for image, label in test.epoch(0):
        feed = {"image": image.numpy()}
        logits = torch.from_numpy(np.asarray(session.run(["logits"], feed)[0]))
        with torch.inference_mode():
            wanted = artifact.network((image - mean) * scale)
        right += int(logits.argmax(1) == label)
        difference = max(difference, float((logits - wanted).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _LEAST or time.perf_counter() - start < _SECONDS:
        before = time.perf_counter()
        session.run(["logits"], feed)
        times.append(time.perf_counter() - before)
    size = path.stat().st_size
    return Measured(
        bytes=size,
        **{name: size <= limit for name, limit in _LIMITS.items()},
        latency_ms=1e3 * statistics.median(times),
        val_accuracy=evaluate_onnx(session, data.pixels("validation", batch_size=1)),
        test_accuracy=right / test.images_count,
        difference=difference / largest,
    )


def main() -> int:
    """The command line."""
    parser = OneLineParser(
        prog="python -m nasprune.shipping", description="Write a point's files for the target board, and measure them."
    )
    parser.add_argument("point", type=Path, help="a point's folder: <storage>/<study>/points/<point>")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="where packed data sets are: <storage>/shared/data"
    )
    parser.add_argument("--out", type=Path, help="where the files go (default: beside the point's own)")
    given = parser.parse_args()
    artifact = read_artifact(given.point)
    data = load_data(artifact.record, given.data_dir)
    measured = ship(artifact, data, given.out or given.point)
    sys.stdout.write(json.dumps({name: asdict(each) for name, each in measured.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
