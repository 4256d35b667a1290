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


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point's files, measured again.

    Attributes:
        test_accuracy: Of the rebuilt network, in 0..1.
        onnx_test_accuracy: Of the ONNX file, in 0..1.
        images: How many were tested.
    """

    test_accuracy: float
    onnx_test_accuracy: float
    images: int


def measure(directory: Path, data: Path, verifier: Sequence[str] = VERIFY) -> Measured:
    """Measure a point's files in a fresh process.

    Args:
        directory: The point's folder.
        data: Where packed data sets live.
        verifier: The program; prints one JSON object as its last line.

    Raises:
        ArtifactError: If it cannot, with what it says.
    """
    done = subprocess.run(
        [*verifier, str(directory), "--data-dir", str(data)], capture_output=True, text=True, check=False
    )
    try:
        if done.returncode:
            raise ValueError  # noqa: TRY301  # one way out for all failures
        values = json.loads(done.stdout.strip().splitlines()[-1])
        return Measured(
            test_accuracy=float(values["test_accuracy"]),
            onnx_test_accuracy=float(values["onnx_test_accuracy"]),
            images=int(values["images"]),
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
    for what, value in (("network", measured.test_accuracy), ("ONNX file", measured.onnx_test_accuracy)):
        images = abs(value - record["test_accuracy"]) * measured.images
        if not images <= 1 + 1e-6:
            raise ArtifactError(
                f"the {what} of point {record['point']} has test accuracy {value:.4f} on {measured.images} images, "
                f"logged was {record['test_accuracy']:.4f}; expected at most one image between them, so it is not "
                "promoted; restore the point's folder and the data, or promote another point"
            )
