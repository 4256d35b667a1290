"""MLflow's model registry: a point's logged model as a version, and an alias that moves between versions."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from nasprune.errors import ArtifactError, SettingsError
from nasprune.record import ONNX
from sweep.tracking.logged_models import DIGEST, digest, find_model
from sweep.tracking.mlflow_client import quiet, reason, redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

    from sweep.tracking.mlflow_client import Connection


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What the registry holds after a promotion.

    Attributes:
        name: Of the registered model.
        version: That the alias points at now.
        previous: That it pointed at before, perhaps this one; None if at none.
    """

    name: str
    version: str
    previous: str | None


def tracked_model(connection: Connection, study: str, record: Mapping[str, Any], path: Path) -> LoggedModel:
    """The logged model of a point.

    Args:
        connection: To the store the study was tracked in.
        study: The study's name.
        record: The point's.
        path: The point's ONNX file; must be the one that was logged.

    Raises:
        SettingsError: If the store does not hold the point whole, its files were moved away, or it is a copy.
        ArtifactError: If the file is not the one that was logged, or what the store keeps of it is damaged.
    """
    client, point = connection.client, record["point"]
    try:
        with quiet():
            found = client.get_experiment_by_name(record["dataset"])
            model = found and find_model(client, found.experiment_id, study=study, point=point)
    except (MlflowException, OSError) as problem:
        raise connection.refused(problem) from None
    if not found or not model or model.status != LoggedModelStatus.READY:
        raise SettingsError(
            f"point {point} of study {study} is not in {connection.shown}; expected the store the study was tracked "
            "in; give its --tracking-uri, or run the study again to track it"
        )
    connection.check_files(found.artifact_location, model.artifact_location)
    if model.tags.get(DIGEST) != digest(path):
        raise ArtifactError(
            f"{path} differs from the model tracked as point {point}; expected the same file; "
            "restore the point's folder, or promote another point"
        )
    _check_kept(connection, model, path)
    return model


def _check_kept(connection: Connection, model: LoggedModel, path: Path) -> None:
    """Refuse a logged model whose file, which is what gets registered, is not the point's any more."""
    kept = f"{model.artifact_location}/{ONNX}"
    told = f"{redacted(kept)} is what MLflow keeps of {path}"
    mend = "put that file in its place, or promote another point"
    try:
        with tempfile.TemporaryDirectory() as folder:
            same = onnx.load(connection.fetch(kept, Path(folder))) == onnx.load(path)
    except (MlflowException, OSError) as problem:
        raise ArtifactError(f"{told}, and cannot be read ({reason(problem)}); {mend}") from None
    except Exception:  # protobuf's errors have no common type but Exception
        same = False
    if not same:
        raise ArtifactError(f"{told}, but is damaged; expected the same network; {mend}")


def register(
    connection: Connection, model: LoggedModel, name: str, alias: str, study: str, record: Mapping[str, Any]
) -> Promotion:
    """Make a version of a logged model, once, and let the alias point at it.

    The alias moves last, so that it never points at something half made.

    Args:
        connection: To the store that holds the model.
        model: The point's.
        name: Of the registered model; made if missing.
        alias: Made if missing.
        study: The study's name.
        record: The point's.

    Raises:
        SettingsError: If the store refuses.
    """
    client = connection.client
    try:
        with quiet():
            version = _version(connection, model, name, study, record)
            before = client.get_registered_model(name).aliases.get(alias)
            previous = None if before is None else str(before)
            if previous != version:
                client.set_registered_model_alias(name, alias, version)
            return Promotion(name=name, version=version, previous=previous)
    except (MlflowException, OSError) as problem:
        raise connection.refused(problem) from None


def _version(connection: Connection, model: LoggedModel, name: str, study: str, record: Mapping[str, Any]) -> str:
    """The version made of this logged model; a model has one version under a name, however often it is asked."""
    client = connection.client
    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made: ModelVersion | None = next(
        (each for each in client.search_model_versions(f"name = '{name}'") if each.source == model.artifact_location),
        None,
    )
    origin = record["provenance"]
    made = made or client.create_model_version(
        name,
        # Not models:/ID, which a local store would look up in the process's global tracking URI.
        source=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags={
            "study": study,
            "trial": str(record.get("trial", "")),
            "point": record["point"],
            "commit": str(origin.get("commit", "unknown")),
            "data_hash": str(origin.get("data_hash", "unknown")),
            **{key: str(record[key]) for key in ("macs_ratio", "val_accuracy", "test_accuracy")},
        },
    )
    if connection.local:
        # A server does this itself: the pages of logged models show what they are registered as.
        links = json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
        link = {"name": name, "version": made.version}
        if link not in links:
            client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([*links, link])})
    return str(made.version)
