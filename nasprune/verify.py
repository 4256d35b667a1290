"""Measure a stored point again, in a process of its own: `python -m nasprune.verify POINT_DIR --data-dir DIR`.

Prints one JSON object: `test_accuracy` of the rebuilt network, `onnx_test_accuracy` of its ONNX file under ONNX
Runtime (both in 0..1), and `images`, how many were tested.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from nasprune.artifact import load_data, read_artifact
from nasprune.commandline import OneLineParser, in_one_line
from nasprune.data.batches import Batches
from nasprune.data.statistics import Statistics
from nasprune.record import ONNX
from nasprune.runtime import check_onnx, evaluate_onnx
from nasprune.training import evaluate


def verify(directory: Path, data_directory: Path) -> dict[str, Any]:
    """Test accuracy of a point's files.

    Args:
        directory: The point's folder.
        data_directory: Where packed data sets live.

    Raises:
        ArtifactError: if a file is damaged or the images are not those the point was measured on.
    """
    artifact = read_artifact(directory)
    data = load_data(artifact.record, data_directory)
    check_onnx(directory / ONNX, classes=len(data.classes), image_size=data.image_size, bands=data.bands)
    loading: dict[str, Any] = {"batch_size": 64, "device": torch.device("cpu")}
    raw = Batches(data.images, data.store.labels, data.split.test, statistics=Statistics.none(data.bands), **loading)
    return {
        "test_accuracy": evaluate(artifact.network, data.batches("test", **loading)),
        "onnx_test_accuracy": evaluate_onnx(directory / ONNX, raw),
        "images": len(data.split.test),
    }


def main() -> int:
    """The command line."""
    parser = OneLineParser(prog="python -m nasprune.verify", description="Measure a stored point again.")
    parser.add_argument("point", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(verify(arguments.point, arguments.data_dir)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
