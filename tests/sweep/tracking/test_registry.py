"""What is registered is the point's own file, and pages find it, wherever a promotion before was killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from nasprune.errors import ArtifactError
from sweep.tracking.mlflow_client import connect, quiet
from sweep.tracking.registry import register, tracked_model
from tests.sweep.example_points import write_point
from tests.sweep.tracking.tracked import Make

Find = Callable[[], LoggedModel]


@pytest.fixture
def point(storage: Path) -> Path:
    return write_point(storage / "s", "t000-25pct")


@pytest.fixture
def find(make: Make, storage: Path, point: Path) -> Find:
    """Finds the point's model, as a promotion does."""
    tracker = make()
    tracker.point("t000", point, step=1, hypervolume=0.5)
    tracker.study_ended("FINISHED")
    record = json.loads((point / "point.json").read_text())
    return lambda: tracked_model(connect(None, storage), "s", record, point / "model.onnx")


def test_a_damaged_file_in_the_store_is_refused(find: Find, storage: Path, point: Path):
    find()
    (kept,) = (storage / "mlflow" / "artifacts").rglob("model.onnx")
    other = write_point(storage / "other", seed=1) / "model.onnx"
    for damaged in (other.read_bytes(), kept.read_bytes()[:-100], b""):
        kept.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"model\.onnx, but is damaged; .* put that file in its place"):
            find()
    kept.unlink()
    with pytest.raises(ArtifactError, match=r"is what MLflow keeps of .*, and cannot be read \(.*\); put that file"):
        find()
    kept.write_bytes((point / "model.onnx").read_bytes())
    find()


def test_a_kill_before_the_link_is_mended_by_the_same_command(find: Find, storage: Path, point: Path, monkeypatch):
    record = json.loads((point / "point.json").read_text())
    connection = connect(None, storage)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_logged_model_tags", killed)
        with pytest.raises(KeyboardInterrupt):
            register(connection, find(), "n", "a", "s", record)
    for _ in range(2):
        assert register(connection, find(), "n", "a", "s", record).version == "1"
        with quiet():
            (link,) = json.loads(find().tags["mlflow.modelVersions"])
        assert (link["name"], str(link["version"])) == ("n", "1")
