"""A study's runs in MLflow, safe to write twice.

Runs are found by their tags before they are made, a metric that has a value at a step keeps it (but for what files for
the board measure, which may change), and a logged model is whole only once it is READY: whoever was killed anywhere may
do all of it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from mlflow.entities import Metric, Param, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from nasprune.errors import ArtifactError, SettingsError
from nasprune.record import read_record
from sweep.tracking.logged_models import STUDY, TRIAL, log_board, log_point
from sweep.tracking.mlflow_client import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mlflow.entities import Run

    from sweep.tracking.mlflow_client import Connection
    from sweep.tracking.outbox import Entry

_Values = tuple[int, "Mapping[str, float]", int]  # step, metrics, time in ms
_ROWS = 1_000  # that MLflow takes at once

Status = Literal["FINISHED", "FAILED", "KILLED"]

KIND = "nasprune.kind"
"""Tag of a run: "study" or "trial"."""
TABLE, NOTE, SETTINGS = "front_table.json", "front_note.md", "study.json"

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # which of its pages MLflow shows


class StudyRuns:
    """An experiment a data set, a run a study, a run below it a trial.

    Args:
        connection: To the store.
        study: The study's name.
        dataset: Names the experiment.
        params: What the study is; a resumed one must be the same.
        directory: What entries' files are relative to.

    Raises:
        SettingsError: If the store refuses.
        ArtifactError: If the study is tracked with other parameters.
    """

    def __init__(
        self, connection: Connection, *, study: str, dataset: str, params: Mapping[str, Any], directory: Path
    ) -> None:
        self._connection = connection
        self._client = connection.client
        self._study = study
        self._directory = directory
        self._logged: dict[str, set[tuple[str, int]]] = {}
        self._trials: dict[str, str] = {}
        self._made: set[str] = set()
        """Ids of runs that this process made: what it has not begun for them, nobody has."""
        self._begun: set[str] = set()
        """Points that this process began to log."""
        try:
            with quiet():
                self.experiment = self._find_experiment(dataset)
                self.study_run = self._find_or_make(study, {KIND: "study"}, None)
                self._set_params(self.study_run, f"study {study}", texts(params))
                # Before anything is trained: may and can files be moved to where the store keeps them?
                self._client.log_dict(self.study_run, dict(params), SETTINGS)
                for run in self._search({KIND: "trial"}):
                    known = self._trials.setdefault(run.data.tags[TRIAL], run.info.run_id)
                    if known != run.info.run_id and not _empty(run):
                        self._trials[run.data.tags[TRIAL]] = run.info.run_id
        except (MlflowException, OSError) as problem:
            raise connection.refused(problem) from None

    @property
    def trial_runs(self) -> Mapping[str, str]:
        """MLflow's id of each trial's run, by trial, as far as they are delivered."""
        return dict(self._trials)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write what entries of the outbox tell; what is done already changes nothing.

        Raises:
            ArtifactError: If an entry, or a file that it names, does not fit what is tracked.
            MlflowException: If the store refuses, or is away; so do errors of `requests`.
        """
        kinds: dict[str, Callable[..., None]] = {
            "study_started": self._start_study,
            "study_metrics": self._study_metrics,
            "study_ended": self._end_study,
            "trial_started": self._start_trial,
            "trial_ended": self._end_trial,
            "point": self._point,
            "board": self._board,
            "front": self._front,
        }
        epochs: dict[str, list[_Values]] = {}
        for entry in entries:
            if entry.kind == "trial_metrics":
                values = (entry.body["step"], entry.body["metrics"], entry.time_ms)
                epochs.setdefault(entry.body["trial"], []).append(values)
            elif entry.kind in kinds:
                kinds[entry.kind](entry.time_ms, **entry.body)
            else:
                raise ArtifactError(
                    f"{self._directory} holds an entry '{entry.kind}' for tracking; expected one of "
                    f"{', '.join(kinds)}; go on with the version that wrote it"
                )
        for trial, told in epochs.items():
            self._log_metrics(self._trial(trial, told[0][2]), *told)

    def _start_study(self, time_ms: int) -> None:
        self._settle(time_ms)
        self._go_on(self.study_run)

    def _study_metrics(self, time_ms: int, step: int, metrics: Mapping[str, float]) -> None:
        self._log_metrics(self.study_run, (step, metrics, time_ms))

    def _end_study(self, time_ms: int, status: Status) -> None:
        self._settle(time_ms)
        self._end(self.study_run, status, time_ms)

    def _start_trial(self, time_ms: int, trial: str, params: Mapping[str, str]) -> None:
        run_id = self._trial(trial, time_ms)
        self._set_params(run_id, f"trial {trial} of study {self._study}", params)
        self._go_on(run_id)

    def _end_trial(self, time_ms: int, trial: str, status: Status) -> None:
        self._end(self._trial(trial, time_ms), status, time_ms)

    def _point(
        self, time_ms: int, trial: str, folder: str, step: int, hypervolume: float, smallest: float | None = None
    ) -> None:
        run_id, directory = self._trial(trial, time_ms), self._directory / folder
        run = self._client.get_run(run_id)
        record = read_record(directory)
        fresh = run_id in self._made and record["point"] not in self._begun
        self._begun.add(record["point"])
        log_point(self._client, run, directory, study=self._study, step=step, time_ms=time_ms, fresh=fresh)
        self._log_metrics(run_id, (step, {"hypervolume": hypervolume}, time_ms))
        # MLflow's list of runs shows names first and metrics far to the right.
        share = record["macs_ratio"] if smallest is None else smallest
        name = f"{trial}: {hypervolume:.3f}, down to {share:.1%} MACs"
        self._client.update_run(run_id, name=name)

    def _board(self, time_ms: int, trial: str, folder: str, step: int) -> None:
        run = self._client.get_run(self._trial(trial, time_ms))
        log_board(self._client, run, self._directory / folder, study=self._study, step=step, time_ms=time_ms)

    def _front(self, _time_ms: int, files: Sequence[str]) -> None:
        for file in (*(self._directory / name for name in files), self._directory / TABLE):
            if file.exists():
                self._client.log_artifact(self.study_run, str(file))
        # The tag that MLflow's pages look for before they show a file as a table.
        table = json.dumps([{"path": TABLE, "type": "table"}])
        self._client.set_tag(self.study_run, MLFLOW_LOGGED_ARTIFACTS, table)
        self._client.set_tag(self.study_run, MLFLOW_RUN_NOTE, (self._directory / NOTE).read_text(encoding="utf-8"))

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, self._connection.artifacts, _EXPERIMENT_TAGS))
            except MlflowException as problem:
                if problem.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._find_experiment(name)  # another study was quicker
        if found.lifecycle_stage != "active":
            raise SettingsError(
                f"experiment '{name}' is deleted in {self._connection.shown}; expected an active one; "
                f"restore it with: mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        self._connection.check_files(found.artifact_location)
        return str(found.experiment_id)

    def _search(self, tags: Mapping[str, str], *, status: str | None = None) -> Iterator[Run]:
        """The study's runs with these tags."""
        wanted = [f"tags.`{key}` = '{value}'" for key, value in {STUDY: self._study, **tags}.items()]
        if status is not None:
            wanted.append(f"attributes.status = '{status}'")
        token = None
        while True:
            found = self._client.search_runs(
                [self.experiment],
                filter_string=" AND ".join(wanted),
                run_view_type=ViewType.ACTIVE_ONLY,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def _find_or_make(self, name: str, tags: Mapping[str, str], time_ms: int | None) -> str:
        found = sorted(self._search(tags), key=_empty)
        if found:
            return str(found[0].info.run_id)
        all_tags = {STUDY: self._study, **tags}
        made: Run = self._client.create_run(self.experiment, start_time=time_ms, tags=all_tags, run_name=name)
        self._logged[made.info.run_id] = set()
        self._made.add(made.info.run_id)
        return str(made.info.run_id)

    def _trial(self, trial: str, time_ms: int) -> str:
        """The id of a trial's run, whether or not it was seen to start."""
        if trial not in self._trials:
            tags = {TRIAL: trial, KIND: "trial", MLFLOW_PARENT_RUN_ID: self.study_run}
            self._trials[trial] = self._find_or_make(trial, tags, time_ms)
        return self._trials[trial]

    def _set_params(self, run_id: str, name: str, params: Mapping[str, str]) -> None:
        known = self._client.get_run(run_id).data.params
        for key, value in known.items():
            if params.get(key, value) != value:
                raise ArtifactError(
                    f"{name} is tracked with {key} {value}; expected the same again, now {params[key]} is "
                    "given; give the study another name"
                )
        missing = [Param(key, value) for key, value in params.items() if key not in known]
        if missing:
            self._client.log_batch(run_id, params=missing)

    def _go_on(self, run_id: str) -> None:
        if self._client.get_run(run_id).info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")

    def _settle(self, time_ms: int) -> None:
        """Ends the runs that a driver before this one, or this one when it was stopped, left running.

        A server that hung may have made a run long after its client had given up and asked again: it is empty, and
        goes.
        """
        for run in list(self._search({KIND: "trial"}, status="RUNNING")):
            run_id = run.info.run_id
            if _empty(run) and self._trials.get(run.data.tags[TRIAL], run_id) != run_id:
                self._client.delete_run(run_id)
            else:
                self._client.set_terminated(run_id, "KILLED", time_ms)

    def _end(self, run_id: str, status: Status, time_ms: int) -> None:
        if self._client.get_run(run_id).info.status != status:
            self._client.set_terminated(run_id, status, time_ms)

    def _known(self, run_id: str) -> set[tuple[str, int]]:
        """Which metrics a run has, at which steps; asked of the store once."""
        if run_id not in self._logged:
            self._logged[run_id] = {
                (metric.key, metric.step)
                for key in self._client.get_run(run_id).data.metrics
                for metric in self._client.get_metric_history(run_id, key)
            }
        return self._logged[run_id]

    def _log_metrics(self, run_id: str, *told: _Values) -> None:
        """Log what was told of steps; the first value of a metric at a step stays."""
        known = self._known(run_id)
        fresh: dict[tuple[str, int], Metric] = {}
        for step, metrics, time_ms in told:
            for key, value in metrics.items():
                if (key, step) not in known:
                    # Under the time at which it was said: a row that a server took and did not confirm is the same
                    # row again.
                    fresh.setdefault((key, step), Metric(key, value, time_ms, step))
        for rows in _batches(list(fresh.values())):
            self._client.log_batch(run_id, metrics=rows)
            known.update((row.key, row.step) for row in rows)


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them."""
    return {key: str(value) for key, value in params.items()}


def _batches(rows: list[Metric]) -> Iterator[list[Metric]]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def _empty(run: Run) -> bool:
    return not run.data.params and not run.data.metrics
