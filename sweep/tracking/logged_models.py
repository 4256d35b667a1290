"""Points as MLflow logged models: found by study and point, logged once, whole when READY."""

from __future__ import annotations

import hashlib
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.onnx
import numpy as np
import onnx
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from nasprune.errors import ArtifactError
from nasprune.record import BOARD_FILES, BOARD_REPORT, ONNX, RECORD, WEIGHTS, board_figures, read_record, values_taken
from nasprune.runtime import check_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

STUDY, TRIAL, POINT = "nasprune.study", "nasprune.trial", "nasprune.point"
"""Tags of runs and logged models."""
DIGEST = "nasprune.onnx_sha256"
"""Tag of a logged model: which file it was made from."""

_PARAMS = (
    "trial",
    "point",
    "dataset",
    "network",
    "head",
    "image_size",
    "bands",
    "bit_depth",
    "val_images",
    "budget",
    "polish_epochs",
)
_NOT_METRICS = (*_PARAMS, "seed")
_REQUIREMENTS = ("mlflow", "onnx", "onnxruntime", "numpy")


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        ArtifactError: If it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as problem:
        raise ArtifactError(
            f"{path} given; expected a file of a point that can be read ({problem.strerror}); "
            "take the point from its study again"
        ) from problem


def find_model(client: MlflowClient, experiment: str, *, study: str, point: str) -> LoggedModel | None:
    """The logged model of a point, whole or begun, or None."""
    return next(iter(_find_models(client, experiment, study, point)), None)


def _find_models(client: MlflowClient, experiment: str, study: str, point: str) -> list[LoggedModel]:
    """A point's, a whole one first: a server that hung may make one when its client has long asked again."""
    found = client.search_logged_models(
        [experiment], filter_string=f"tags.`{STUDY}` = '{study}' AND tags.`{POINT}` = '{point}'"
    )
    return sorted(found, key=lambda model: model.status != LoggedModelStatus.READY)


def log_point(
    client: MlflowClient, run: Run, directory: Path, *, study: str, step: int, time_ms: int, fresh: bool = False
) -> LoggedModel:
    """Log a point's folder: an ONNX model with its metrics, and its files as artifacts of the run.

    Where this was stopped before, it goes on; where it was finished, nothing is written.

    Args:
        client: Of the store that holds the run.
        run: The trial's.
        directory: The point's folder.
        study: The study's name.
        step: The step that the point's metrics are logged at.
        time_ms: The time that they are logged at.
        fresh: Nobody can have begun it; looking for it takes the longer the more models there are.

    Returns:
        The READY model. Tags name its study and point, `search_logged_models` finds its metrics.

    Raises:
        ArtifactError: If a file is missing or damaged, or another network is tracked as this point.
    """
    record = read_record(directory)
    sha = digest(directory / ONNX)
    experiment, run_id = run.info.experiment_id, run.info.run_id
    found = [] if fresh else _find_models(client, experiment, study, record["point"])
    for double in found[1:]:
        client.delete_logged_model(double.model_id)
    model = found[0] if found else None
    if model is None:
        model = client.create_logged_model(
            experiment,
            name=re.sub(r"[/:.%\"']", "_", record["point"]),  # signs that MLflow refuses in a name
            source_run_id=run_id,
            tags={STUDY: study, TRIAL: str(record.get("trial", "")), POINT: record["point"], DIGEST: sha},
            params={key: str(record[key]) for key in _PARAMS if key in record},
            model_type="classifier",
        )
    elif model.tags.get(DIGEST) != sha:
        raise ArtifactError(
            f"{directory} holds another network than the one tracked as point {record['point']} of study "
            f"{study}; expected one network a point; give the study another name"
        )
    if model.status == LoggedModelStatus.READY:
        return model
    _log_files(client, run_id, directory, record)
    with tempfile.TemporaryDirectory() as folder:
        _save_model(model, run_id, directory / ONNX, record, Path(folder) / "model")
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    outputs = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    known = _newest(model)
    lacking = {key: value for key, value in record.items() if key not in known}
    _log_metrics(client, run_id, model, lacking, step, time_ms)
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def log_board(client: MlflowClient, run: Run, directory: Path, *, study: str, step: int, time_ms: int) -> None:
    """Log a point's files for the board beside its own, and what they measure as metrics of its model.

    Files that were measured again replace those that were logged; the newest of a metric's values is theirs.

    Args:
        client: Of the store that holds the run.
        run: The trial's.
        directory: The point's folder.
        study: The study's name.
        step: The step that the metrics are logged at.
        time_ms: The time that they are logged at.

    Raises:
        ArtifactError: If the point was never logged.
    """
    name = directory.name
    model = find_model(client, run.info.experiment_id, study=study, point=name)
    if model is None:
        raise ArtifactError(f"point {name} of study {study} is not tracked; expected it before its files for the board")
    known = _newest(model)
    new = {key: value for key, value in board_figures(directory).items() if known.get(key) != value}
    if not new:
        return
    for file in (*BOARD_FILES.values(), BOARD_REPORT):
        client.log_artifact(run.info.run_id, str(directory / file), f"points/{name}")
    _log_metrics(client, run.info.run_id, model, new, step, time_ms)


def _log_files(client: MlflowClient, run_id: str, directory: Path, record: Mapping[str, Any]) -> None:
    folder = f"points/{record['point']}"
    for name in (RECORD, WEIGHTS):
        if not (directory / name).is_file():
            raise ArtifactError(f"{directory} lacks {name}; expected a whole point; take it from its study again")
        client.log_artifact(run_id, str(directory / name), folder)
    client.log_dict(run_id, dict(record["widths"]), f"{folder}/widths.json")


def _save_model(model: LoggedModel, run_id: str, path: Path, record: Mapping[str, Any], target: Path) -> None:
    try:
        network = onnx.load(path)
    except Exception as problem:  # protobuf's errors have no common type but Exception
        raise ArtifactError(f"{path} is not a readable ONNX file; take the point from its study again") from problem
    side, bands = int(record["image_size"]), int(record["bands"])
    check_onnx(path, classes=len(record["classes"]), image_size=side, bands=bands)
    mlflow.onnx.save_model(
        network,
        target,
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            model_uuid=model.model_id,
            run_id=run_id,
            model_id=model.model_id,
        ),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype("float32"), (-1, bands, side, side), "image")]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, len(record["classes"])), "logits")]),
        ),
        # Given, since MLflow would load the model in a new process to find them.
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in _REQUIREMENTS],
        # The default asks for CUDA first and warns wherever there is none.
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        metadata={"classes": list(record["classes"]), "widths": dict(record["widths"]), "input": values_taken(record)},
    )


def _newest(model: LoggedModel) -> dict[str, float]:
    """The newest value of each of a model's metrics."""
    metrics = sorted(model.metrics or [], key=lambda metric: (metric.timestamp, metric.step))
    return {metric.key: metric.value for metric in metrics}


def _log_metrics(
    client: MlflowClient, run_id: str, model: LoggedModel, record: Mapping[str, Any], step: int, time_ms: int
) -> None:
    metrics = [
        Metric(key, float(value), time_ms, step, model_id=model.model_id, run_id=run_id)
        for key, value in record.items()
        if isinstance(value, int | float) and key not in _NOT_METRICS
    ]
    if metrics:
        client.log_batch(run_id, metrics=metrics)
