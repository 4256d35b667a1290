"""What a promotion tells: what was promoted, how to load it, how to go back."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from nasprune.confusion import class_results
from nasprune.record import BOARD_FILES, ONNX, board_figures, values_taken

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from sweep.promoting.verification import Measured
    from sweep.tracking.mlflow_client import Connection
    from sweep.tracking.registry import Promotion


def weakest_lines(record: Mapping[str, Any], most: int = 3) -> list[str]:
    """The classes that the point recognises least on test images, the weakest first."""
    results = class_results(record["test_confusion"])
    said = []
    for name in sorted(results, key=lambda name: results[name].accuracy)[:most]:
        result = results[name]
        if result.taken_for is not None:
            said.append(f"{name} {result.right} of {result.images} (most often taken for {result.taken_for})")
    return [f"weakest of {len(results)} classes on test images: {', '.join(said)}"] if said else []


def board_lines(directory: Path, verified: str | None, measured: Measured) -> list[str]:
    """The point's files for the board that are there; of the one whose precision was verified, what it measures now."""
    logged = board_figures(directory)
    lines = []
    for precision, name in BOARD_FILES.items():
        if not logged or not (directory / name).is_file():
            continue
        known = {key: logged[f"{precision}_{key}"] for key in _ACCURACIES if f"{precision}_{key}" in logged}
        lines.append(
            f"for the board, {precision}: {directory / name}, {logged[f'{precision}_bytes'] / 1e6:.2f} MB, "
            f"{logged[f'{precision}_latency_ms']:.2f} ms, {_accuracies(known)}"
            + (f"; verified: {_accuracies(measured.board)}" if precision == verified else " as logged")
        )
    return lines


_ACCURACIES = {"val_accuracy": "validation", "test_accuracy": "test"}


def _accuracies(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{part} accuracy {figures[key]:.1%}" for key, part in _ACCURACIES.items() if key in figures)


def report(
    given: argparse.Namespace,
    directory: Path,
    record: Mapping[str, Any],
    measured: Measured,
    promotion: Promotion,
    connection: Connection,
) -> str:
    """What to tell: what was promoted, how to load it, how to go back."""
    shape = ", ".join(str(record[key]) for key in ("bands", "image_size", "image_size"))
    alias, name = given.alias, promotion.name
    lines = [
        f"{name} version {promotion.version} is {alias}: point {record['point']} of study {given.study}, "
        f"{record['macs_ratio']:.1%} of the dense MACs, validation accuracy {record['val_accuracy']:.1%} "
        f"of {record['val_images']} images",
        f"verified in a fresh process on {measured.images} test images: network {measured.test_accuracy:.1%}, "
        f"ONNX {measured.onnx_test_accuracy:.1%}, logged {record['test_accuracy']:.1%}",
        *weakest_lines(record),
        f"the registered model is {directory / ONNX}, float32, for batches of any size",
        *board_lines(directory, given.precision, measured),
        "",
        "load it, where mlflow and onnxruntime are installed:",
        "    import mlflow",
        f'    mlflow.set_tracking_uri("{connection.shown}")',
        f'    model = mlflow.pyfunc.load_model("models:/{name}@{alias}")',
        f'    logits = model.predict(images)["logits"]  # float32 (batch, {shape}), {values_taken(record)}',
        '    classes = model.metadata.metadata["classes"]  # in the order of the logits',
        f'    # or the file itself: mlflow.onnx.load_model("models:/{name}@{alias}")',
        "",
    ]
    if promotion.previous is None:
        lines.append(f"roll back: nothing else was {alias} before")
    elif promotion.previous == promotion.version:
        lines.append(f"roll back: {alias} was version {promotion.version} already; nothing moved")
    else:
        lines += [
            f"roll back, to version {promotion.previous} that was {alias} before:",
            "    " + roll_back(given.alias, promotion, connection),
        ]
    return "\n".join(lines) + "\n"


def roll_back(alias: str, promotion: Promotion, connection: Connection) -> str:
    """The command that gives the alias back to that very version, whoever made it."""
    store, name, alias, version = map(json.dumps, (connection.shown, promotion.name, alias, promotion.previous))
    code = (
        f"from mlflow import MlflowClient; MlflowClient({store}).set_registered_model_alias({name}, {alias}, {version})"
    )
    return shlex.join(["uv", "run", "python", "-c", code])
