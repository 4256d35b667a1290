"""Optuna's storage for a database with one writer: reads come from memory, writes go to the file first.

Optuna reads the trials that are not finished from its database again and again, some six times for one suggestion,
since another process may have written them. With many trials running that is most of what a suggestion costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class WrittenThrough(InMemoryStorage):
    """All that the database holds, in memory; each write is in the database before it is here.

    Args:
        url: SQLAlchemy's, of a database that no other process writes to.

    Raises:
        sqlalchemy.exc.DatabaseError: if it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._kept = RDBStorage(url)
        self._kept_studies: dict[int, int] = {}
        """The database's number of a study, by ours."""
        self._kept_trials: dict[int, int] = {}
        for study in self._kept.get_all_studies():
            here = super().create_new_study(study.directions, study.study_name)
            self._kept_studies[here] = study._study_id  # what a storage goes by; Study keeps it in `_study_id`, too
            for key, value in study.user_attrs.items():
                super().set_study_user_attr(here, key, value)
            for key, value in study.system_attrs.items():
                super().set_study_system_attr(here, key, value)
            for trial in self._kept.get_all_trials(study._study_id, deepcopy=False):
                self._kept_trials[super().create_new_trial(here, trial)] = trial._trial_id

    def close(self) -> None:
        """Close the database."""
        self._kept.remove_session()
        self._kept.engine.dispose()

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See `optuna.storages.BaseStorage`, as of all below."""
        kept = self._kept.create_new_study(directions, study_name)
        here = super().create_new_study(directions, self._kept.get_study_name_from_id(kept))
        self._kept_studies[here] = kept
        return here

    def delete_study(self, study_id: int) -> None:  # noqa: D102
        self._kept.delete_study(self._kept_studies[study_id])
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        self._kept.set_study_user_attr(self._kept_studies[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        self._kept.set_study_system_attr(self._kept_studies[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:  # noqa: D102
        kept = self._kept.create_new_trial(self._kept_studies[study_id], template_trial)
        here = super().create_new_trial(study_id, template_trial)
        self._kept_trials[here] = kept
        return here

    def set_trial_param(  # noqa: D102
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._kept.set_trial_param(self._kept_trials[trial_id], param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(  # noqa: D102
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        if not self._kept.set_trial_state_values(self._kept_trials[trial_id], state, values):
            return False
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:  # noqa: D102
        self._kept.set_trial_intermediate_value(self._kept_trials[trial_id], step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        self._kept.set_trial_user_attr(self._kept_trials[trial_id], key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:  # noqa: ANN401, D102
        self._kept.set_trial_system_attr(self._kept_trials[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)
