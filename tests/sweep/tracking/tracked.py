"""A small study to track, and all that a store holds of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import mlflow.onnx
import numpy as np
import onnxruntime
from mlflow import MlflowClient

from sweep.tracking.tracker import Tracker
from tests.sweep.example_points import SIDE

Make = Callable[..., Tracker]
FRONT = {
    "dense": {"macs": 2400, "params": 2000, "val_accuracy": 0.95, "test_accuracy": 0.94},
    "points": [
        {"point": "t000-25pct", "trial": "t000", "macs_ratio": 0.24, "val_accuracy": 0.9, "on_front": True},
        {"point": "t001-25pct", "trial": "t001", "macs_ratio": 0.25, "val_accuracy": 0.8, "on_front": False},
    ],
}


def whole_study(tracker: Tracker, study_dir: Path, *, point: Path) -> str:
    """All calls of a small study, in a driver's order."""
    tracker.trial_started("t000", {"budget": 0.25, "mask": "hard"})
    for step in (1, 2, 3):
        tracker.trial_metrics("t000", step, {"search_loss": 1 / step, "search_seconds": 0.1})
    tracker.point("t000", point, step=3, hypervolume=0.5)
    page = study_dir / "front.html"
    page.write_text("<p>front</p>")
    tracker.front(FRONT, files=[page], note="| point |\n|---|\n| t000 |", hypervolume=0.7)
    tracker.trial_ended("t000", "FINISHED")
    tracker.study_ended("FINISHED")
    assert tracker.undelivered == 0
    return tracker.run_ids["t000"]


def everything(client: MlflowClient, dataset: str = "scenes") -> dict:
    """All that a store holds of the data set, in a form that doubles would change."""
    (experiment,) = client.search_experiments(filter_string=f"name = '{dataset}'")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    return {
        "runs": {
            run.info.run_id: {
                "status": run.info.status,
                "end": run.info.end_time,
                "params": run.data.params,
                "tags": run.data.tags,
                "history": {
                    key: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics
                },
                "outputs": [o.model_id for o in run.outputs.model_outputs] if run.outputs else [],
                "files": sorted(f.path for f in client.list_artifacts(run.info.run_id)),
            }
            for run in runs
        },
        "models": {
            model.model_id: (
                model.status,
                model.params,
                sorted((m.key, m.value, m.step, m.timestamp) for m in model.metrics),
            )
            for model in client.search_logged_models([experiment.experiment_id])
        },
    }


def check_model(client: MlflowClient, uri: str, experiment: str, point: Path) -> None:
    """The logged model is found by its metrics and computes what the point's file computes."""
    found = client.search_logged_models([experiment], filter_string="metrics.val_accuracy > 0.5")
    assert [model.tags["nasprune.point"] for model in found] == [point.name]
    assert not client.search_logged_models([experiment], filter_string="metrics.macs_ratio > 0.5")
    images = np.random.default_rng(0).random((5, 3, SIDE, SIDE), dtype=np.float32)
    runtime = onnxruntime.InferenceSession(point / "model.onnx", providers=["CPUExecutionProvider"])
    wanted = runtime.run(["logits"], {"image": images})[0]
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model(found[0].model_uri)
        raw = mlflow.onnx.load_model(found[0].model_uri)
    finally:
        mlflow.set_tracking_uri(before)
    for given in (images, {"image": images}):
        np.testing.assert_array_equal(loaded.predict(given)["logits"], wanted)
    again = onnxruntime.InferenceSession(raw.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(again.run(["logits"], {"image": images})[0], wanted)
    assert loaded.metadata.signature.inputs.input_names() == ["image"]
    assert loaded.metadata.metadata["classes"] == ["farm", "port", "road"]
    assert loaded.metadata.metadata["input"] == "RGB in [0, 1]"
