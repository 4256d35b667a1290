"""What writes to MLflow, and tells a store that is away from one that refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from sweep.tracking.delivery import RefusedError, StoreAwayError
from sweep.tracking.mlflow_client import FilingError, connect, quiet, unreachable
from sweep.tracking.study_runs import StudyRuns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.tracking.outbox import Entry


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """Which study is tracked, and where; plain values, so that another process can be told.

    Attributes:
        study: The study's name.
        dataset: Names the experiment.
        storage: The folder that holds the default store, and with it the artifacts.
        uri: Of another store or a server.
        params: What the study is; a resumed one must be the same.
        directory: What entries' files are relative to.
    """

    study: str
    dataset: str
    storage: str
    uri: str | None
    params: Mapping[str, str]
    directory: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a study is in a store.

    Attributes:
        shown: The store's URI without user and password.
        local: Whether the store is a file of this machine.
        experiment: MLflow's id of the experiment.
        study_run: MLflow's id of the study's run.
    """

    shown: str
    local: bool
    experiment: str
    study_run: str


class Writer:
    """Writes entries to a store, from the process that it is made in.

    Args:
        tracked: The study; its experiment and run are made if missing.

    Raises:
        SettingsError: If the store cannot be used; found within about 10 s.
        ArtifactError: If the study is tracked with other parameters.
    """

    def __init__(self, tracked: Tracked) -> None:
        self._connection = connect(tracked.uri, Path(tracked.storage))
        self._runs = StudyRuns(
            self._connection,
            study=tracked.study,
            dataset=tracked.dataset,
            params=tracked.params,
            directory=Path(tracked.directory),
        )
        self.place = Place(
            shown=self._connection.shown,
            local=self._connection.local,
            experiment=self._runs.experiment,
            study_run=self._runs.study_run,
        )

    @property
    def trial_runs(self) -> Mapping[str, str]:
        """MLflow's id of each trial's run, by trial, as far as they are delivered."""
        return self._runs.trial_runs

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write what entries tell; what is done already changes nothing.

        Raises:
            StoreAwayError: If the store is away, or busy for now.
            RefusedError: If it takes no such thing.
            NaspruneError: If an entry, or a file that it names, does not fit what is tracked.
        """
        try:
            with quiet():
                self._runs.deliver(entries)
        except (MlflowException, OSError) as problem:  # requests' errors are OSErrors
            # Not chained: the problem's own text may hold the URI as given, with its password.
            if unreachable(problem):
                what = "keeps files where nothing answers" if isinstance(problem, FilingError) else "does not answer"
                raise StoreAwayError(f"{self.place.shown} {what}") from None
            raise RefusedError(*self._connection.refused(problem).args) from None

    def close(self) -> None:
        """Write no more."""
