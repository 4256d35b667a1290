"""Ray Tune's searcher over Optuna's ask and tell, for studies that survive kills.

The Optuna storage is the truth. A *slot* is one of the study's trials, numbered from 0: its budget, and
through the study's seed its random draws, follow from its number alone. Everything else is read back from
the storage, so a driver that was killed goes on exactly where it stood. Ray's own `OptunaSearch` tells
truncated trials as complete, leaves trials without a result running for ever, and doubles trials after a
kill.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from nasprune.errors import SettingsError
from nasprune.search import SearchSettings
from sweep.optuna_storage import WrittenThrough
from sweep.space import SearchSpace

Objectives = Mapping[str, Literal["maximize", "minimize"]]
"""What a trial's last result must hold, and which way is better."""

DESCENT: Objectives = {"hypervolume": "maximize"}
"""Of trials that visit all budgets: one figure, honest after each of them."""

TARGET: Objectives = {"val_accuracy": "maximize", "macs_ratio": "minimize"}
"""Of trials with one budget each."""

_STUDY = "nasprune"  # one Optuna study a database, so the name tells nothing
_SLOT = "slot"
_TUNE_ID = "tune_id"
_SETTINGS = "settings"
_LOG = logging.getLogger(__name__)


def _nothing() -> None:
    """What follows from a change, where nothing does."""


def verdict(
    result: Mapping[str, Any] | None, objectives: Objectives, *, error: bool
) -> tuple[TrialState, list[float] | None]:
    """What Optuna is told of a trial that ended.

    Args:
        result: The trial's last result. `finished: False` in it marks a trial that was stopped before its
            end; its figures are not those of a whole trial and must not count as such. One with `error` has failed.
        objectives: What is read from it.
        error: Whether the trial raised.

    Returns:
        The state, and the objectives' values if it is COMPLETE. An objective that is missing, NaN or
        infinite makes FAIL.
    """
    if error or not result or "error" in result:
        return TrialState.FAIL, None
    if result.get("finished") is False:
        return TrialState.PRUNED, None
    values = [result.get(name) for name in objectives]
    if not all(isinstance(value, int | float | np.number) and math.isfinite(value) for value in values):
        return TrialState.FAIL, None
    return TrialState.COMPLETE, [float(value) for value in values if value is not None]


class _Sampler(TPESampler):
    """TPE where all trials have the same parameters: Optuna would look at every trial to find that out."""

    def __init__(self, seed: int, parameters: Mapping[str, BaseDistribution]) -> None:
        super().__init__(seed=seed)
        self._parameters = {name: parameters[name] for name in sorted(parameters) if not parameters[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are sampled together; with several objectives each is sampled alone."""
        return {} if len(study.directions) > 1 else self._parameters


class OptunaSearcher(Searcher):
    """Suggests the settings of each trial, and learns from what becomes of them.

    With budgets (one a trial), these take turns. The first trial, of each budget, gets the recommended settings,
    later ones what TPE proposes. A suggestion is flat: `trial` (the slot as "t003": stable over kills, so that what
    a trial writes under this name is written once), `budget` if there are budgets, and the explored settings.

    The database has one writer, this object in the driver. A trial that Tune has forgotten in a kill is given again as
    it is: one record for all its life. One that failed gets another record, with the same settings.

    Raises:
        SettingsError: If a recommended setting is not in the space, or the database was made with other settings.
        ArtifactError: If the database cannot be read or written; so do all calls that use it.
    """

    def __init__(
        self,
        *,
        database: Path,
        trials: int,
        objectives: Objectives = DESCENT,
        budgets: Sequence[float] = (),
        seed: int = 0,
        space: SearchSpace,
        recommended: SearchSettings | None = None,
        changed: Callable[[], None] = _nothing,
        keeping_errors: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """The database is opened on first use. Trials and budgets are checked already, see `StudySettings`.

        Args:
            database: The SQLite file, made if missing (`<study dir>/optuna.db`).
            trials: Slots over the study's whole life, resumes included; may grow in a resume.
            objectives: What the study is for, `DESCENT` or `TARGET`.
            budgets: Of trials with one budget each: wanted shares of the dense network's cost, in (0, 1], each once.
            seed: Of every random draw.
            space: The settings to explore.
            recommended: The recipe that each budget's first trial uses; the method's own by default.
            changed: Called whenever the database has changed, before anything follows from it.
            keeping_errors: Surrounds all that Tune asks and tells, since it takes an error where a trial ends for the
                trial's.
        """
        # No metric is given to Tune: it would insist on finding it in every epoch's result.
        super().__init__()
        self._database = database.absolute()
        self._trials = trials
        self._objectives = dict(objectives)
        self._budgets = tuple(float(budget) for budget in budgets)
        self._seed = seed
        self._space = space
        self._recommended = space.chosen(asdict(recommended or SearchSettings()))
        self._changed = changed
        self._keeping_errors = keeping_errors
        self._max_concurrent: int | None = None
        self._given: dict[str, optuna.Trial] = {}
        """The trials of this session, by Tune's ids."""
        self._reported: set[tuple[str, int]] = set()
        self._taken_up = False
        self._slots = 0
        """Given so far; they are given in their order."""
        self._study: optuna.Study | None = None
        self._storage: WrittenThrough | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its searchers to restore them, but every session here is a new run with its own."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Ray omits FINISHED
        """The settings for Tune's trial `trial_id`; FINISHED after the last slot; None while enough run."""
        with self._keeping_errors():
            return self._suggestion(trial_id)

    def _suggestion(self, trial_id: str) -> dict[str, Any] | str | None:
        self.take_up()
        study = self._open()
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        forgotten = self._forgotten(running)
        if self._max_concurrent and len(running) - len(forgotten) >= self._max_concurrent:
            return None
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if forgotten:
            slot = _slot(forgotten[0])
        elif waiting:
            slot = _slot(waiting[0])
        else:
            slot = self._slots
            if slot >= self._trials:
                return str(Searcher.FINISHED)
            budget = {"budget": self._budgets[slot % len(self._budgets)]} if self._budgets else {}
            fixed = self._recommended if slot < max(1, len(self._budgets)) else {}
            study.enqueue_trial({**budget, **fixed}, user_attrs={_SLOT: slot})
            self._slots = slot + 1
        # One generator a slot: with one for the study, a restarted driver would draw the first draws again.
        study.sampler = _Sampler(_seed_of(self._seed, slot), self._distributions())
        trial = self._again(study, forgotten[0]) if forgotten else study.ask(self._distributions())
        trial.set_user_attr(_TUNE_ID, trial_id)
        self._given[trial_id] = trial
        self._reported |= {(trial_id, step) for step in forgotten[0].intermediate_values} if forgotten else set()
        self._changed()
        return {"trial": _name(slot), **trial.params}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Reports how far a descent has come: TPE ranks stopped trials by it, below all whole ones."""
        if "points" not in result or len(self._objectives) > 1 or trial_id not in self._given:
            return
        (objective,), step = self._objectives, int(result["points"])
        if (trial_id, step) not in self._reported:  # a trial that Tune began again tells it again
            self._reported.add((trial_id, step))
            with self._keeping_errors():
                self._given[trial_id].report(float(result[objective]), step=step)
                self._changed()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells Optuna how a trial ended (see `verdict`); what was told once stays."""
        study = self._open()
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trial = next((t for t in running if t.user_attrs.get(_TUNE_ID) == trial_id), None)
        if trial is not None:
            state, values = verdict(result, self._objectives, error=error)
            if result and state is TrialState.PRUNED:  # Tune does not pass on the result it stops a trial with
                self.on_trial_result(trial_id, result)
            with self._keeping_errors():
                study.tell(trial.number, values, state=state)
                self._changed()
        elif not any(t.user_attrs.get(_TUNE_ID) == trial_id for t in study.get_trials(deepcopy=False)):
            _LOG.warning("trial %s ended but was never suggested here; its result is not learned from", trial_id)

    def take_up(self) -> None:
        """Goes on from where other sessions stood, and gives again what failed there; only the first call acts."""
        if self._taken_up:
            return
        study = self._open()
        history = study.get_trials(deepcopy=False)
        newest = {_slot(trial): trial.number for trial in history}
        self._slots = len(newest)
        for trial in history:
            if trial.state is TrialState.FAIL and newest[_slot(trial)] == trial.number:
                study.enqueue_trial(trial.params, user_attrs={_SLOT: _slot(trial)})
        self._taken_up = True

    def remaining(self) -> int:
        """Slots that are not given yet, or wait to be given again."""
        history = self._open().get_trials(deepcopy=False)
        given = {_slot(t) for t in history} - {_slot(t) for t in history if t.state is TrialState.WAITING}
        given -= {_slot(t) for t in self._forgotten(history)}
        return max(0, self._trials - len(given))

    def ended(self) -> frozenset[str]:
        """Trials that are over: whole, or stopped early."""
        over = (TrialState.COMPLETE, TrialState.PRUNED)
        return frozenset(_name(_slot(t)) for t in self._open().get_trials(deepcopy=False) if t.state in over)

    def stopped(self) -> frozenset[str]:
        """Those of `ended` that were stopped early."""
        history = self._open().get_trials(deepcopy=False)
        return frozenset(_name(_slot(t)) for t in history if t.state is TrialState.PRUNED)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Counts running trials in the storage rather than let Ray's limiter count in memory."""
        self._max_concurrent = max_concurrent
        return True

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: the database holds it all."""

    def close(self) -> None:
        """Closes the database; the next use opens it again."""
        if self._storage is not None:
            self._storage.close()
        self._study = self._storage = None

    def _forgotten(self, history: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Trials that ran when a driver before this one was killed, and have not been given again."""
        running = (trial for trial in history if trial.state is TrialState.RUNNING)
        return [trial for trial in running if trial.user_attrs.get(_TUNE_ID) not in self._given]

    def _again(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
        """The same trial once more, with what it was given; what a kill kept from being drawn is drawn now."""
        again = optuna.Trial(study, trial._trial_id)
        for name, values in self._distributions().items():
            if isinstance(values, FloatDistribution):
                again.suggest_float(name, values.low, values.high, log=values.log)
            elif isinstance(values, CategoricalDistribution):
                again.suggest_categorical(name, values.choices)
        return again

    def _open(self) -> optuna.Study:
        if self._study is not None:
            return self._study
        # The terminal belongs to the sweep's own report.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._database.parent.mkdir(parents=True, exist_ok=True)
        url = sqlalchemy.URL.create("sqlite", database=str(self._database)).render_as_string()
        self._storage = WrittenThrough(url)
        study = optuna.create_study(
            storage=self._storage,
            study_name=_STUDY,
            directions=list(self._objectives.values()),
            load_if_exists=True,
        )
        settings = {
            "objectives": list(self._objectives),
            "budgets": list(self._budgets),
            "seed": self._seed,
            "space": self._space.described(),
            "recommended": self._recommended,
        }
        plain = json.loads(json.dumps(settings))  # as the database gives it back
        known = study.user_attrs.get(_SETTINGS)
        if known is None:
            study.set_user_attr(_SETTINGS, settings)
        elif known != plain:
            changed = [key for key in plain if known.get(key) != plain[key]]
            raise SettingsError(
                f"{' and '.join(changed)} given for the study in {self._database} differ from those it began "
                f"with, {', '.join(f'{key} {known.get(key)}' for key in changed)}; "
                "give the same, or another study name"
            )
        self._study = study
        return study

    def _distributions(self) -> dict[str, BaseDistribution]:
        """The budget is a parameter too, always fixed, so that TPE may learn what depends on it."""
        found: dict[str, BaseDistribution] = {"budget": CategoricalDistribution(self._budgets)} if self._budgets else {}
        for name, values in self._space.explored().items():
            found[name] = FloatDistribution(values.low, values.high, log=values.log)
        return found


def _slot(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[_SLOT])


def _name(slot: int) -> str:
    return f"t{slot:03d}"


def _seed_of(seed: int, slot: int) -> int:
    return int(np.random.SeedSequence([seed, slot]).generate_state(1)[0])
