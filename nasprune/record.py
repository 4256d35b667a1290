"""A point's folder as plain data: its files' names, its record, and what its files for the board measure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nasprune.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

RECORD, WEIGHTS, ONNX = "point.json", "weights.safetensors", "model.onnx"
BOARD_FILES = {"float32": "board.onnx", "int8": "board_int8.onnx"}
"""Those for the board, by precision."""
BOARD_REPORT = "board.json"

Record = Mapping[str, Any]
"""What `point.json` holds; `_REQUIRED` names what every record has."""

OF_DENSE = ("network", "head", "dataset", "classes", "image_size", "bands", "bit_depth", "statistics", "val_images")
"""What a point's record has from that of its dense network."""

_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "point": str,
    "network": str,
    "head": str,
    "dataset": str,
    "classes": list,
    "image_size": int,
    "bands": int,
    "bit_depth": int,
    "statistics": dict,
    "val_images": int,
    "widths": dict,
    "macs": int,
    "macs_ratio": (int, float),
    "params": int,
    "val_accuracy": (int, float),
    "test_accuracy": (int, float),
    "test_confusion": dict,
    "worst_class_test_accuracy": (int, float),
    "data": dict,
    "provenance": dict,
}


def read_record(directory: Path) -> Record:
    """The checked content of a point's JSON file.

    Raises:
        ArtifactError: if the file is missing, not JSON, or lacks what every record has.
    """
    path = directory / RECORD
    try:
        record: Record = json.loads(path.read_text())
    except OSError as error:
        raise ArtifactError(f"{directory} given; expected a point's folder with {RECORD} ({error.strerror})") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); take the point from its study again") from error
    for key, kind in _REQUIRED.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            raise ArtifactError(f"{path} lacks a usable '{key}'; take the point from its study again")
    return record


def values_taken(record: Record) -> str:
    """What a point's exported files take: "RGB in [0, 1]", or which bands over what."""
    bands: str = record["data"]["bands"]
    if bands == "rgb":
        return "RGB in [0, 1]"
    return f"{'all bands' if bands == 'all' else f'bands {bands}'} over {2 ** record['bit_depth'] - 1}, in [0, 1]"


def about(record: Record) -> dict[str, str]:
    """What a point's exported files say of themselves: all that is needed to feed them and to read their logits."""
    return {
        "point": record["point"],
        "dataset": record["dataset"],
        "input": values_taken(record),
        "classes": json.dumps(record["classes"], ensure_ascii=False),
    }


def board_figures(directory: Path) -> dict[str, float]:
    """What the files for the board in a folder measure, as `int8_latency_ms`; empty where there are none.

    Raises:
        ArtifactError: if the report of them is damaged.
    """
    return _read_report(directory)[0]


def board_machine(directory: Path) -> str:
    """The processor that the files for the board in a folder were measured on; "" where there are none.

    Raises:
        ArtifactError: if the report of them is damaged.
    """
    return _read_report(directory)[1]


def _read_report(directory: Path) -> tuple[dict[str, float], str]:
    path = directory / BOARD_REPORT
    try:
        report = json.loads(path.read_text())
        figures = {
            f"{precision}_{key}": float(value) for precision in BOARD_FILES for key, value in report[precision].items()
        }
        return figures, str(report["machine"])
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error!r}); remove it, and run the study again to write it anew"
        ) from error
