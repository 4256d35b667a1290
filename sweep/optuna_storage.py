"""Optuna's storage for a database with one writer: reads come from memory, writes go to the file first.

Optuna reads the trials that are not finished from its database again and again, some six times for one suggestion,
since another process may have written them. With many trials running that is most of what a suggestion costs.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nasprune.errors import ArtifactError
from nasprune.files import reason


class WrittenThrough(InMemoryStorage):
    """All that the database holds, in memory; each write is in the database before it is here.

    Args:
        url: SQLAlchemy's, of a database that no other process writes to.

    Raises:
        ArtifactError: here, and from each write, if the database cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._database = sqlalchemy.make_url(url).database
        self._broken: ArtifactError | None = None
        self._kept_studies: dict[int, int] = {}
        """The database's number of a study, by ours."""
        self._kept_trials: dict[int, int] = {}
        self._unfinished: dict[int, set[int]] = defaultdict(set)
        """Of each study ours of the trials that are not over: few, where all may be thousands."""
        with self._told():
            self._kept = RDBStorage(url)
            self._read()

    def _read(self) -> None:
        for study in self._kept.get_all_studies():
            here = super().create_new_study(study.directions, study.study_name)
            self._kept_studies[here] = study._study_id  # what a storage goes by; Study keeps it in `_study_id`, too
            for key, value in study.user_attrs.items():
                super().set_study_user_attr(here, key, value)
            for key, value in study.system_attrs.items():
                super().set_study_system_attr(here, key, value)
            for trial in self._kept.get_all_trials(study._study_id, deepcopy=False):
                self._note(here, super().create_new_trial(here, trial), trial._trial_id)

    def close(self) -> None:
        """Close the database."""
        self._kept.remove_session()
        self._kept.engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says in one line what is wrong with which file: Optuna speaks of a commit, and what is behind it of SQL.

        Once a write has failed no other is done: Tune would tell that a trial has failed, if it could not be told that
        it is finished.
        """
        if self._broken is not None:
            raise self._broken
        try:
            yield
        except (StorageInternalError, SQLAlchemyError) as problem:
            behind = problem.__cause__ if isinstance(problem, StorageInternalError) else problem
            self._broken = ArtifactError(
                f"{self._database} cannot be used ({reason(getattr(behind, 'orig', None) or behind or problem)}); "
                "expected a study's Optuna database that can be read and written: free some space, end what else has "
                "it open, or restore the file, and give the same command again"
            )
            raise self._broken from problem

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See `optuna.storages.BaseStorage`, as of all below."""
        with self._told():
            kept = self._kept.create_new_study(directions, study_name)
            name = self._kept.get_study_name_from_id(kept)
        here = super().create_new_study(directions, name)
        self._kept_studies[here] = kept
        return here

    def delete_study(self, study_id: int) -> None:  # noqa: D102
        with self._told():
            self._kept.delete_study(self._kept_studies[study_id])
        super().delete_study(study_id)
        self._unfinished.pop(study_id, None)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        with self._told():
            self._kept.set_study_user_attr(self._kept_studies[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        with self._told():
            self._kept.set_study_system_attr(self._kept_studies[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:  # noqa: D102
        with self._told():
            kept = self._kept.create_new_trial(self._kept_studies[study_id], template_trial)
        here = super().create_new_trial(study_id, template_trial)
        self._note(study_id, here, kept)
        return here

    def _note(self, study_id: int, trial_id: int, kept: int) -> None:
        self._kept_trials[trial_id] = kept
        if not self.get_trial(trial_id).state.is_finished():
            self._unfinished[study_id].add(trial_id)

    def get_all_trials(  # noqa: D102
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states is None or any(state in states for state in TrialState if state.is_finished()):
            return super().get_all_trials(study_id, deepcopy, states)
        trials = [trial for trial in map(self.get_trial, sorted(self._unfinished[study_id])) if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_param(  # noqa: D102
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        with self._told():
            self._kept.set_trial_param(self._kept_trials[trial_id], param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(  # noqa: D102
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        with self._told():
            changed = self._kept.set_trial_state_values(self._kept_trials[trial_id], state, values)
        if not changed:
            return False
        if state.is_finished():
            for unfinished in self._unfinished.values():
                unfinished.discard(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:  # noqa: D102
        with self._told():
            self._kept.set_trial_intermediate_value(self._kept_trials[trial_id], step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        with self._told():
            self._kept.set_trial_user_attr(self._kept_trials[trial_id], key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        with self._told():
            self._kept.set_trial_system_attr(self._kept_trials[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)
