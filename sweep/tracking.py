"""MLflow, written by the driver alone, and safe to write twice.

Runs are found by their tags before they are made, a metric that has a value at a step keeps it, and a
logged model is whole only once it is READY: a driver that was killed anywhere may do all of it again.
While a server is away, what should be written waits here; trials go on, and points are on disk anyway.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlencode

from mlflow.entities import Metric, Param, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from nasprune.artifact import read_record
from nasprune.errors import ArtifactError, NaspruneError, SettingsError
from sweep.logged_models import STUDY, TRIAL, log_point
from sweep.mlflow_client import connect, quiet, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from mlflow.entities import Run

Status = Literal["FINISHED", "FAILED", "KILLED"]

KIND = "nasprune.kind"
"""Tag of a run: "study" or "trial"."""
TABLE = "front_table.json"
_COLUMNS = (
    "point",
    "trial",
    "budget",
    "macs_ratio",
    "macs",
    "params",
    "val_accuracy",
    "test_accuracy",
    "on_front",
)

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # which of its pages MLflow shows
_NOTE_LIMIT = 7_500  # characters; MLflow cuts a tag at 8,000
_PAUSES = (1.0, 60.0)  # seconds between two tries while a server is away: at first, at most
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BrowseHint:
    """How to look at a study."""

    command: str | None
    """Starts the server to browse; None if there is one already."""
    link: str
    """The study's trials, best first, as rows that can be charted together."""
    front: str
    """The study's own run, with the front."""


class Tracker:
    """One study in MLflow: an experiment a data set, a run a study, a run below it a trial.

    Raises:
        SettingsError: If the tracking URI cannot be used; found before any training, within about 10 s.
    """

    def __init__(
        self, *, study: str, dataset: str, storage: Path, uri: str | None = None, params: Mapping[str, Any]
    ) -> None:
        """Connects, and finds or makes the study's run.

        Args:
            study: The study's name.
            dataset: Names the experiment.
            storage: Holds the default store, and with it the artifacts.
            uri: Of another store or a server.
            params: What the study is; a resumed one must be the same.
        """
        self._study = study
        self._connection = connect(uri, storage)
        self._client = self._connection.client
        self._runs: dict[str, str] = {}
        self._logged: dict[str, set[tuple[str, int]]] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._away = False
        self._pause, self._not_before = _PAUSES[0], 0.0
        try:
            with quiet():
                self._experiment = self._find_experiment(dataset)
                self._parent = self._find_or_make(study, {KIND: "study"})
                self._set_params(self._parent, f"study {study}", params)
                self._go_on(self._parent)
                self._runs = {run.data.tags[TRIAL]: run.info.run_id for run in self._search({KIND: "trial"})}
                self._settle()
        except (MlflowException, OSError) as problem:
            raise self._connection.refused(problem) from None

    @property
    def run_id(self) -> str:
        """MLflow's id of the study's run."""
        return self._parent

    @property
    def run_ids(self) -> Mapping[str, str]:
        """MLflow's id of each trial's run, by trial."""
        return dict(self._runs)

    @property
    def undelivered(self) -> int:
        """Calls that wait for a server to come back."""
        return len(self._waiting)

    def trial_started(self, trial_id: str, params: Mapping[str, Any]) -> None:
        """A trial runs, for the first time or again.

        Raises:
            ArtifactError: If it is tracked with other parameters.
        """
        self._deliver(lambda: self._start_trial(trial_id, params))

    def trial_metrics(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """An epoch's metrics, in one request. What is known of this step already stays."""
        now = int(time.time() * 1000)
        self._deliver(lambda: self._log_metrics(self._trial(trial_id), step, metrics, now))

    def trial_ended(self, trial_id: str, status: Status) -> None:
        """A trial is over."""
        self._deliver(lambda: self._end(self._trial(trial_id), status))

    def point(self, trial_id: str, point_dir: Path, *, step: int, hypervolume: float) -> str | None:
        """Logs a point (see `sweep.logged_models.log_point`).

        Args:
            trial_id: The trial's name.
            point_dir: The point's folder.
            step: The last epoch's; the same whenever the point is logged, so that it is logged once.
            hypervolume: Of the trial's points up to this one.

        Returns:
            MLflow's id of the trial's run; None while a server is away.

        Raises:
            ArtifactError: If the point is damaged, or another network is tracked under its name.
        """
        now = int(time.time() * 1000)

        def log() -> None:
            run_id = self._trial(trial_id)
            log_point(self._client, self._client.get_run(run_id), point_dir, study=self._study, step=step)
            self._log_metrics(run_id, step, {"hypervolume": hypervolume}, now)
            # MLflow's list of runs shows names first and metrics far to the right.
            record = read_record(point_dir)
            name = f"{trial_id}: {hypervolume:.3f}, down to {record['macs_ratio']:.1%} MACs"
            self._client.update_run(run_id, name=name)

        self._deliver(log)
        return self._runs.get(trial_id)

    def front(
        self,
        front: Mapping[str, Any],
        *,
        files: Iterable[Path],
        note: str,
        hypervolume: float | None = None,
    ) -> None:
        """Shows the front as it is now on the study's run.

        Args:
            front: The content of front.json.
            files: To be shown beside: front.html, front.png, front.json.
            note: Markdown for the run's page; cut at whole lines if MLflow cannot hold it.
            hypervolume: Of the front, if known.
        """
        now, files = int(time.time() * 1000), tuple(files)
        self._deliver(lambda: self._show(front, files, note, hypervolume, now))

    def study_ended(self, status: Status) -> None:
        """The study is over, or stopped; the last chance to write what waits."""
        self._not_before = 0.0
        self._deliver(self._settle)
        self._deliver(lambda: self._end(self._parent, status))
        if self._waiting:
            _LOG.warning(
                "%d entries are not in MLflow: %s does not answer; start it and resume the study to add them",
                len(self._waiting),
                self._connection.shown,
            )

    def browse_hint(self, *, port: int = 5000) -> BrowseHint:
        """The command that shows this store in a browser, and where to look."""
        root, command = self._connection.shown, None
        if self._connection.local:
            root = f"http://127.0.0.1:{port}"
            store = shlex.quote(self._connection.shown)
            command = f"uv run mlflow ui --backend-store-uri {store} --host 127.0.0.1 --port {port}"
        # In its default order MLflow folds trials away below their study, where no chart shows them; sorted
        # by a metric they are rows of their own. The last key leaves the pages for language models.
        query = {
            "searchFilter": f"tags.`{STUDY}` = '{self._study}' AND tags.`{KIND}` = 'trial'",
            "orderByKey": "metrics.`hypervolume`",
            "orderByAsc": "false",
            "workflowType": "machine_learning",
        }
        page = f"{root}/#/experiments/{self._experiment}/runs"
        return BrowseHint(
            command=command,
            link=f"{page}?{urlencode(query, quote_via=quote)}",
            front=f"{page}/{self._parent}?workflowType=machine_learning",
        )

    def _deliver(self, call: Callable[[], None]) -> None:
        """Makes the calls that wait, then this one, unless the store is away."""
        self._waiting.append(call)
        if time.monotonic() < self._not_before:
            return
        while self._waiting:
            try:
                with quiet():
                    self._waiting[0]()
            except (MlflowException, OSError) as problem:  # requests' errors are OSErrors
                if unreachable(problem):
                    self._wait()
                    return
                self._waiting.popleft()  # it would be refused for ever, and hold up all that follow
                raise self._connection.refused(problem) from None
            except NaspruneError:
                self._waiting.popleft()
                raise
            self._waiting.popleft()
        self._away = False
        self._pause, self._not_before = _PAUSES[0], 0.0

    def _wait(self) -> None:
        if not self._away:
            _LOG.warning("%s does not answer; the study goes on, and tracking waits", self._connection.shown)
        self._away = True
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

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
        return str(found.experiment_id)

    def _search(self, tags: Mapping[str, str], *, status: str | None = None) -> Iterator[Run]:
        """The study's runs with these tags."""
        wanted = [f"tags.`{key}` = '{value}'" for key, value in {STUDY: self._study, **tags}.items()]
        if status is not None:
            wanted.append(f"attributes.status = '{status}'")
        token = None
        while True:
            found = self._client.search_runs(
                [self._experiment],
                filter_string=" AND ".join(wanted),
                run_view_type=ViewType.ACTIVE_ONLY,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def _find_or_make(self, name: str, tags: Mapping[str, str]) -> str:
        for run in self._search(tags):
            return str(run.info.run_id)
        made: Run = self._client.create_run(self._experiment, tags={STUDY: self._study, **tags}, run_name=name)
        self._logged[made.info.run_id] = set()
        return str(made.info.run_id)

    def _trial(self, trial_id: str) -> str:
        """The id of a trial's run, whether or not it was seen to start."""
        if trial_id not in self._runs:
            tags = {TRIAL: trial_id, KIND: "trial", MLFLOW_PARENT_RUN_ID: self._parent}
            self._runs[trial_id] = self._find_or_make(trial_id, tags)
        return self._runs[trial_id]

    def _start_trial(self, trial_id: str, params: Mapping[str, Any]) -> None:
        run_id = self._trial(trial_id)
        self._set_params(run_id, f"trial {trial_id} of study {self._study}", params)
        self._go_on(run_id)

    def _set_params(self, run_id: str, name: str, params: Mapping[str, Any]) -> None:
        texts = {key: str(value) for key, value in params.items()}
        known = self._client.get_run(run_id).data.params
        for key, value in known.items():
            if texts.get(key, value) != value:
                raise ArtifactError(
                    f"{name} is tracked with {key} {value}; expected the same again, now {texts[key]} is "
                    "given; give the study another name"
                )
        missing = [Param(key, value) for key, value in texts.items() if key not in known]
        if missing:
            self._client.log_batch(run_id, params=missing)

    def _go_on(self, run_id: str) -> None:
        if self._client.get_run(run_id).info.status != "RUNNING":
            self._client.update_run(run_id, status="RUNNING")

    def _settle(self) -> None:
        """Ends the runs that a driver before this one, or this one when it was stopped, left running."""
        for run in list(self._search({KIND: "trial"}, status="RUNNING")):
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _known(self, run_id: str) -> set[tuple[str, int]]:
        """Which metrics a run has, at which steps; asked of the store once."""
        if run_id not in self._logged:
            self._logged[run_id] = {
                (metric.key, metric.step)
                for key in self._client.get_run(run_id).data.metrics
                for metric in self._client.get_metric_history(run_id, key)
            }
        return self._logged[run_id]

    def _end(self, run_id: str, status: Status) -> None:
        if self._client.get_run(run_id).info.status != status:
            self._client.set_terminated(run_id, status)

    def _log_metrics(self, run_id: str, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        known = self._known(run_id)
        fresh = {key: float(value) for key, value in metrics.items() if (key, step) not in known}
        if fresh:
            rows = [Metric(key, value, time_ms, step) for key, value in fresh.items()]
            self._client.log_batch(run_id, metrics=rows)
            known.update((key, step) for key in fresh)

    def _show(
        self,
        front: Mapping[str, Any],
        files: tuple[Path, ...],
        note: str,
        hypervolume: float | None,
        time_ms: int,
    ) -> None:
        points = front["points"]
        for file in files:
            self._client.log_artifact(self._parent, str(file))
        rows = [[point.get(column) for column in _COLUMNS] for point in points]
        self._client.log_dict(self._parent, {"columns": list(_COLUMNS), "data": rows}, TABLE)
        # The tag that MLflow's pages look for before they show a file as a table.
        table = json.dumps([{"path": TABLE, "type": "table"}])
        self._client.set_tag(self._parent, MLFLOW_LOGGED_ARTIFACTS, table)
        self._client.set_tag(self._parent, MLFLOW_RUN_NOTE, cut_note(note))
        measured: dict[str, float] = {
            "points": len(points),
            "points_on_front": sum(bool(p.get("on_front")) for p in points),
        }
        if points:
            measured["best_val_accuracy"] = max(point["val_accuracy"] for point in points)
        if hypervolume is not None:
            measured["hypervolume"] = hypervolume
        self._log_metrics(self._parent, len(points), measured, time_ms)


def cut_note(note: str) -> str:
    """`note`, or as many of its first lines as MLflow can hold and a line that says so."""
    if len(note) <= _NOTE_LIMIT:
        return note
    kept = note[:_NOTE_LIMIT].rsplit("\n", 1)[0]
    left = note.count("\n") - kept.count("\n")
    return f"{kept}\n\n{left} more lines do not fit here; all points are in front.json."
