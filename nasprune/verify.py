"""Measure a stored point again, in a process of its own: `python -m nasprune.verify POINT_DIR --data-dir DIR`.

Prints one JSON object: `test_accuracy` of the rebuilt network, `onnx_test_accuracy` of its ONNX file under ONNX
Runtime (both in 0..1), and `images`, how many were tested. With `--precision` also `board`, of that file for the
board: `bytes`, `val_accuracy` and `test_accuracy`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nasprune.artifact import load_data, read_artifact
from nasprune.commandline import OneLineParser, in_one_line
from nasprune.errors import ArtifactError
from nasprune.record import BOARD_FILES, ONNX
from nasprune.runtime import check_onnx, evaluate_onnx, onnx_session
from nasprune.training import evaluate

if TYPE_CHECKING:
    from nasprune.data import SceneData


def verify(directory: Path, data_directory: Path, precision: str | None = None) -> dict[str, Any]:
    """Test accuracy of a point's files.

    Args:
        directory: The point's folder.
        data_directory: Where packed data sets live.
        precision: Of the file for the board that is measured as well, as in `BOARD_FILES`.

    Raises:
        ArtifactError: if a file is missing or damaged or the images are not those the point was measured on.
        DataError: if the images cannot be read.
    """
    artifact = read_artifact(directory)
    data = load_data(artifact.record, data_directory)
    _check(directory / ONNX, data)
    batches = data.batches("test", batch_size=64, device=torch.device("cpu"))
    measured = {
        "test_accuracy": evaluate(artifact.network, batches),
        "onnx_test_accuracy": evaluate_onnx(onnx_session(directory / ONNX), data.pixels("test", batch_size=64)),
        "images": len(data.split.test),
    }
    if precision is None:
        return measured
    return measured | {"board": _measure_board(directory / BOARD_FILES[precision], data)}


def _measure_board(path: Path, data: SceneData) -> dict[str, float]:
    if not path.is_file():
        raise ArtifactError(f"{path} is not there; expected a file for the board, which nasprune.shipping writes anew")
    _check(path, data)
    session = onnx_session(path)
    return {
        "bytes": path.stat().st_size,
        "val_accuracy": evaluate_onnx(session, data.pixels("validation", batch_size=1)),
        "test_accuracy": evaluate_onnx(session, data.pixels("test", batch_size=1)),
    }


def _check(path: Path, data: SceneData) -> None:
    check_onnx(path, classes=len(data.classes), image_size=data.image_size, bands=data.bands)


def main() -> int:
    """The command line."""
    parser = OneLineParser(prog="python -m nasprune.verify", description="Measure a stored point again.")
    parser.add_argument("point", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(
        "--precision", choices=tuple(BOARD_FILES), help="of a file for the board to be measured as well"
    )
    given = parser.parse_args()
    sys.stdout.write(json.dumps(verify(given.point, given.data_dir, given.precision)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
