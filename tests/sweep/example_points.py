"""Small points on disk, as a trial leaves them, for tests of what comes after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
CLASSES = ("farm", "port", "road")


def write_point(study_dir: Path, point: str = "t000-25pct", *, seed: int = 0, **changes: Any) -> Path:
    """A point whose network is one linear layer; `changes` go into its record."""
    directory = study_dir / "points" / point
    directory.mkdir(parents=True)
    record = {
        "point": point,
        "trial": point.split("-")[0],
        "budget": 0.25,
        "cost": "macs",
        "cost_ratio": 0.24,
        "network": "resnet10",
        "head": "original",
        "dataset": "scenes",
        "classes": list(CLASSES),
        "image_size": SIDE,
        "bands": 3,
        "bit_depth": 8,
        "statistics": {"mean": [0.5, 0.5, 0.5], "deviation": [0.2, 0.2, 0.2]},
        "val_images": 8,
        "widths": {"stem": 16, "layer1.0": 24},
        "macs": 576,
        "macs_ratio": 0.24,
        "params": 579,
        "recalibrated_val_accuracy": 0.6,
        "val_accuracy": 0.9,
        "test_accuracy": 0.875,
        "test_confusion": {"farm": {"farm": 3}, "port": {"port": 2, "road": 1}, "road": {"road": 2}},
        "worst_class_test_accuracy": 2 / 3,
        "seconds": 1.5,
        "settings": {},
        "data": {"dataset": "scenes", "bands": "rgb"},
        "provenance": {"study": "s", "commit": "abc123", "data_hash": "d" * 64, "seed": 0},
        **changes,
    }
    (directory / "point.json").write_text(json.dumps(record))
    (directory / "weights.safetensors").write_bytes(b"weights")
    onnx.save_model(linear_network(seed), directory / "model.onnx")
    return directory


def linear_network(seed: int) -> onnx.ModelProto:
    """Takes "image" (batch, 3, S, S), gives "logits" (batch, classes)."""
    draw = np.random.default_rng(seed)
    values = {
        "weight": draw.normal(size=(3 * SIDE * SIDE, len(CLASSES))).astype(np.float32),
        "bias": draw.normal(size=len(CLASSES)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model
