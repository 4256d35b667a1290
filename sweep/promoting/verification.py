"""A point measured again, in a process that shares nothing with this one but the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VERIFY = (sys.executable, "-m", "nasprune.verify")
"""Measures a point's files in a process of its own, which shares nothing with this one but the disk."""

_OF_BOARD = ("bytes", "val_accuracy", "test_accuracy")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point's files, measured again.

    Attributes:
        test_accuracy: Of the rebuilt network, in 0..1.
        onnx_test_accuracy: Of the ONNX file, in 0..1.
        images: How many were tested.
        board: Of the file for the board that was asked for: `bytes`, `val_accuracy` and `test_accuracy`.
    """

    test_accuracy: float
    onnx_test_accuracy: float
    images: int
    board: Mapping[str, float]


def measure(directory: Path, data: Path, verifier: Sequence[str] = VERIFY, *, precision: str | None = None) -> Measured:
    """Measure a point's files in a fresh process.

    Args:
        directory: The point's folder.
        data: Where packed data sets live.
        verifier: The program; prints one JSON object as its last line.
        precision: Of the file for the board that is to be measured as well.

    Raises:
        ArtifactError: If it cannot, with what it says.
    """
    words = [str(directory), "--data-dir", str(data), *(["--precision", precision] if precision else [])]
    done = subprocess.run([*verifier, *words], capture_output=True, text=True, check=False)
    try:
        if done.returncode:
            raise ValueError  # noqa: TRY301  # one way out for all failures
        values = json.loads(done.stdout.strip().splitlines()[-1])
        return Measured(
            test_accuracy=float(values["test_accuracy"]),
            onnx_test_accuracy=float(values["onnx_test_accuracy"]),
            images=int(values["images"]),
            board={key: float(values["board"][key]) for key in _OF_BOARD} if precision else {},
        )
    except (ValueError, KeyError, TypeError, IndexError) as problem:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = said[-1].removeprefix("error: ") if said else f"exit code {done.returncode}"
        raise ArtifactError(f"{directory} cannot be verified, so it is not promoted: {reason}") from problem


def check(record: Mapping[str, Any], measured: Measured) -> None:
    """Refuse a point that does not measure what was logged.

    One image may change sides between machines and runtimes, by rounding; two may not.

    Raises:
        ArtifactError: If an accuracy differs by more.
    """
    logged, images = record["test_accuracy"], measured.images
    for what, value in (("network", measured.test_accuracy), ("ONNX file", measured.onnx_test_accuracy)):
        _compare(f"the {what} of point {record['point']}", "test", value, logged, images)


def check_board(record: Mapping[str, Any], point: Mapping[str, Any], measured: Measured, precision: str) -> None:
    """Refuse a file for the board that is not the one whose figures are known.

    Latency is left to the machine that it was measured on.

    Args:
        record: The point's.
        point: The same of a front, with the figures.
        measured: What was measured now.
        precision: The file's.

    Raises:
        ArtifactError: If its size differs, or an accuracy by more than rounding explains.
    """
    from nasprune.provenance import processor

    what, known = f"the {precision} file for the board of point {record['point']}", point[f"{precision}_bytes"]
    if measured.board["bytes"] != known:
        raise ArtifactError(
            f"{what} has {measured.board['bytes']:.0f} bytes, logged was {known:.0f}; expected the file that was "
            f"measured, so it is not promoted; {_MEND_BOARD}"
        )
    # Processors round sums of 8 bits in different places.
    elsewhere = precision == "int8" and point.get("board_machine") != processor()
    for key, part, images in (
        ("val_accuracy", "validation", record["val_images"]),
        ("test_accuracy", "test", measured.images),
    ):
        logged = point.get(f"{precision}_{key}")
        if logged is not None:  # earlier versions did not measure it on validation images
            most = max(1, images // 100) if elsewhere else 1
            _compare(what, part, measured.board[key], logged, images, most=most, mend=_MEND_BOARD)


_MEND = "restore the point's folder and the data, or promote another point"
_MEND_BOARD = f"where it was measured anew, run the study again; else {_MEND}"


def _compare(
    what: str, part: str, value: float, logged: float, images: int, *, most: int = 1, mend: str = _MEND
) -> None:
    """Raise ArtifactError unless at most so many images lie between two accuracies."""
    if not abs(value - logged) * images <= most + 1e-6:
        raise ArtifactError(
            f"{what} has {part} accuracy {value:.4f} on {images} images, logged was {logged:.4f}; expected at most "
            f"{'one image' if most == 1 else f'{most} images'} between them, so it is not promoted; {mend}"
        )
