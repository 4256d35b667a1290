"""A file for the board that was chosen is the one whose figures were logged, or it is not promoted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nasprune.errors import ArtifactError
from nasprune.provenance import processor
from nasprune.record import BOARD_FILES, BOARD_REPORT, board_figures, board_machine
from sweep.promoting.report import board_lines
from sweep.promoting.verification import Measured, check_board, measure

FIGURES = {"bytes": 900, "val_accuracy": 0.8, "test_accuracy": 0.75, "latency_ms": 0.5}
RECORD = {"point": "p", "val_images": 500}


def front_point(directory: Path, machine: str, **changes: float | None) -> dict:
    """A point as a front has it, with the report of its files; a change to None leaves a figure out."""
    figures = {key: value for key, value in (FIGURES | changes).items() if value is not None}
    report = {"machine": machine, **dict.fromkeys(BOARD_FILES, figures)}
    (directory / BOARD_REPORT).write_text(json.dumps(report))
    return board_figures(directory) | {"board_machine": board_machine(directory)}


def measured(**changes: float) -> Measured:
    """Again, on 1,000 test images."""
    board = {key: float(value) for key, value in (FIGURES | changes).items() if key != "latency_ms"}
    return Measured(test_accuracy=0.8, onnx_test_accuracy=0.8, images=1000, board=board)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"test_accuracy": 0.751}, None),
        (
            {"test_accuracy": 0.748},
            "test accuracy 0.7480 on 1000 images, logged was 0.7500; expected at most one image",
        ),
        ({"val_accuracy": 0.802}, None),
        ({"val_accuracy": 0.796}, "validation accuracy 0.7960 on 500 images, logged was 0.8000; expected at most one"),
        ({"bytes": 901}, "has 901 bytes, logged was 900; expected the file that was measured"),
        ({"test_accuracy": float("nan")}, "test accuracy nan"),
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", BOARD_FILES)
def test_the_file_measures_as_logged_or_is_refused(tmp_path, precision, changes, reason):
    point = front_point(tmp_path, processor())
    if reason is None:
        check_board(RECORD, point, measured(**changes), precision)
        return
    with pytest.raises(ArtifactError, match=f"the {precision} file for the board of point p .*{reason}") as caught:
        check_board(RECORD, point, measured(**changes), precision)
    assert "\n" not in str(caught.value)


def test_int8_of_another_processor_may_round_otherwise_and_float32_may_not(tmp_path):
    point = front_point(tmp_path, "a board")
    check_board(RECORD, point, measured(test_accuracy=0.741, val_accuracy=0.791), "int8")
    with pytest.raises(ArtifactError, match="expected at most 10 images"):
        check_board(RECORD, point, measured(test_accuracy=0.739), "int8")
    with pytest.raises(ArtifactError, match="expected at most one image"):
        check_board(RECORD, point, measured(test_accuracy=0.741), "float32")


def test_a_report_of_an_earlier_version_is_checked_by_test_accuracy(tmp_path):
    point = front_point(tmp_path, processor(), val_accuracy=None)
    check_board(RECORD, point, measured(val_accuracy=0.1), "int8")
    with pytest.raises(ArtifactError, match="test accuracy"):
        check_board(RECORD, point, measured(test_accuracy=0.1), "int8")


def test_the_report_says_where_files_are_and_which_was_verified(tmp_path):
    front_point(tmp_path, "a board", val_accuracy=None)
    for name in BOARD_FILES.values():
        (tmp_path / name).touch()
    said = "0.00 MB, 0.50 ms, test accuracy 75.0%"
    assert board_lines(tmp_path, "int8", measured(test_accuracy=0.751)) == [
        f"for the board, float32: {tmp_path / 'board.onnx'}, {said} as logged",
        f"for the board, int8: {tmp_path / 'board_int8.onnx'}, {said}; verified: validation accuracy 80.0%, "
        "test accuracy 75.1%",
    ]
    (tmp_path / "board_int8.onnx").unlink()
    (only,) = board_lines(tmp_path, None, measured())
    assert only.startswith("for the board, float32: ")


def test_the_file_is_measured_by_the_program(tmp_path):
    accuracies = "**dict.fromkeys(('test_accuracy', 'onnx_test_accuracy', 'images'), 1)"
    program = f"import json, sys; print(json.dumps({{{accuracies}, %s}}))"
    told = program % "'board': {'bytes': 7, 'val_accuracy': 0.5, 'test_accuracy': sys.argv[-1] == 'int8'}"
    found = measure(tmp_path, tmp_path, [sys.executable, "-c", told], precision="int8")
    assert found.board == {"bytes": 7, "val_accuracy": 0.5, "test_accuracy": 1}
    with pytest.raises(ArtifactError, match="cannot be verified"):
        measure(tmp_path, tmp_path, [sys.executable, "-c", program % ""], precision="int8")
