"""The front of a data set in MLflow: one run of the data set's experiment, beside those of its studies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mlflow.entities import Metric, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from nasprune.errors import SettingsError
from sweep.tracking.mlflow_client import quiet
from sweep.tracking.study_runs import KIND
from sweep.tracking.tracker import cut_note

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sweep.tracking.mlflow_client import Connection

FRONT = "front"
"""Of a run: the front of its data set; see KIND."""
NAME = "nasprune.front"
"""Tag of such a run: which storage's front it is, since many may be tracked by one server."""


def log_dataset_front(
    connection: Connection,
    dataset: str,
    *,
    of: str,
    name: str,
    files: Iterable[Path],
    note: str,
    metrics: Mapping[str, float],
) -> str:
    """Show a data set's front on its run, which is made if there is none.

    Args:
        connection: To the store that its studies are tracked in.
        dataset: Names the experiment.
        of: What it is the front of, for people.
        name: Of the front, by which its run is found again.
        files: To be shown; those of the same name that were there before are replaced.
        note: Markdown for the run's page; cut at whole lines if MLflow cannot hold it.
        metrics: Of the front, logged once more each time.

    Returns:
        Where in MLflow's pages the run is, below the address of a server.

    Raises:
        SettingsError: If no study of the data set is tracked in the store, its files are elsewhere, or it refuses.
    """
    client = connection.client
    try:
        with quiet():
            experiment = client.get_experiment_by_name(dataset)
            if experiment is None or experiment.lifecycle_stage != "active":
                raise SettingsError(
                    f"no study of '{dataset}' is tracked in {connection.shown}; expected the store the studies were "
                    "tracked in; give its --tracking-uri"
                )
            connection.check_files(experiment.artifact_location)
            run_id = _find_or_make(connection, experiment.experiment_id, of, name)
            for file in files:
                client.log_artifact(run_id, str(file))
            now = time.time_ns() // 1_000_000
            client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()])
            client.set_tag(run_id, MLFLOW_RUN_NOTE, cut_note(note))
            client.set_terminated(run_id, "FINISHED")
    except (MlflowException, OSError) as problem:
        raise connection.refused(problem) from None
    return f"#/experiments/{experiment.experiment_id}/runs/{run_id}?workflowType=machine_learning"


def _find_or_make(connection: Connection, experiment: str, of: str, name: str) -> str:
    found = connection.client.search_runs(
        [experiment],
        filter_string=f"tags.`{KIND}` = '{FRONT}' AND tags.`{NAME}` = '{name}'",
        run_view_type=ViewType.ACTIVE_ONLY,
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    if found:
        return str(found[0].info.run_id)
    tags = {KIND: FRONT, NAME: name}
    made = connection.client.create_run(experiment, tags=tags, run_name=f"front of {of}")
    return str(made.info.run_id)
