"""Ray Tune runs the trials; Optuna says which. What happens is passed on to display, tracking and front."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner

from nasprune.errors import NaspruneError, SettingsError
from sweep.cluster.ray_cluster import DEATHS, ctrl_c_lent
from sweep.failure import every_death_counted, last_failure
from sweep.trial import LAST_TRY, run_trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sweep.cluster.ray_cluster import Places
    from sweep.display import Display
    from sweep.searcher import OptunaSearcher
    from sweep.settings import StudySettings
    from sweep.stopping import BudgetStopper
    from sweep.storage.ground import Ground
    from sweep.tracking.tracker import Tracker


def run_trials(
    settings: StudySettings,
    ground: Ground,
    searcher: OptunaSearcher,
    stopper: BudgetStopper,
    places: Places,
    follower: Follower,
) -> None:
    """Run every trial the searcher still has to give, each as far as the stopper lets it."""
    searcher.take_up()
    remaining = searcher.remaining()
    if not remaining:
        return
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, settings=settings, ground=ground),
        {"cpu": places.trial["CPU"], "gpu": places.trial.get("GPU", 0.0)},
    )
    # Tune's own state, pickles among it, has no reader: what a later session needs is in the study's folder. Only the
    # driver writes it, since trials give Tune no checkpoints: of a bucket, its mirror here does for all nodes.
    directory = settings.directory / "ray"
    shutil.rmtree(directory, ignore_errors=True)  # of a session that was killed
    name = time.strftime("%Y%m%d-%H%M%S")
    tuner = Tuner(
        trainable,
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=remaining,
            max_concurrent_trials=places.at_once,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(directory),
            callbacks=[follower],
            stop=stopper,
            verbose=0,
            failure_config=FailureConfig(max_failures=DEATHS + 1),  # and one error of its own
        ),
    )
    # It prints the traceback of every failure, between the lines of the sweep's own report.
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
    try:
        with every_death_counted(), ctrl_c_lent():
            tuner.fit()
    except tune.TuneError:
        if follower.error is not None:  # raised in a callback of ours, or by the searcher, and wrapped by Tune
            raise follower.error from follower.error.__cause__
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Follower(Callback):
    """Passes on what Tune's trials report, under the study's own names for them.

    Args:
        display: The terminal.
        tracker: MLflow.
        added: Takes the front again, with a point of that name that may be new.
        often: Called at least once a second or so, for what waits to be done.
    """

    def __init__(
        self, display: Display, tracker: Tracker, added: Callable[[str], None], often: Callable[[], None]
    ) -> None:
        self.display = display
        self.tracker = tracker
        self.added = added
        self.often = often
        self.failures: dict[str, str] = {}
        self.error: NaspruneError | None = None

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Tune stores its callbacks to restore them, but every session here is a new run with its own."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """A trial has been placed."""
        name = trial.config["trial"]
        self.display.started(name)
        with self.keeping_errors():
            self.tracker.trial_started(name, {k: v for k, v in trial.config.items() if k not in ("trial", LAST_TRY)})

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: Any,  # noqa: ANN401
        result: Mapping[str, Any],
        **info: Any,  # noqa: ANN401
    ) -> None:
        """An epoch, or a point, is done; or the trial has failed, which its end tells."""
        name = trial.config["trial"]
        if "error" in result:
            with self.keeping_errors():
                if result["node_error"]:
                    raise SettingsError(result["error"])
            return
        self.display.reported(name, result)
        with self.keeping_errors():
            if "point" in result:
                self.added(str(result["point"]))
                return
            metrics = {k: float(v) for k, v in result.items() if k.startswith(("search_", "tune_"))}
            self.tracker.trial_metrics(name, int(result["step"]), metrics)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """A trial has ended, at its end, where it was stopped, or with the same error once more."""
        if "error" in trial.last_result:
            self._failed(trial.config["trial"], str(trial.last_result["error"]))
            return
        self.display.ended(trial.config["trial"], finished=bool(trial.last_result["finished"]))
        with self.keeping_errors():
            self.tracker.trial_ended(trial.config["trial"], "FINISHED")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """A trial goes on from its checkpoint: as often as hosts die, but once only after an error of its own."""
        if self.error is not None:  # what failed was not the trial: see `on_step_end`
            return
        failure = last_failure(trial)
        if failure.own:
            trial.set_config({**trial.config, LAST_TRY: True})
        self.display.say(f"trial {trial.config['trial']} begins again from its checkpoint: {failure.reason}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401
        """A trial's process has died too often."""
        self._failed(trial.config["trial"], last_failure(trial).reason)

    def _failed(self, name: str, reason: str) -> None:
        self.failures[name] = reason
        self.display.failed(name, reason)
        with self.keeping_errors():
            self.tracker.trial_ended(name, "FAILED")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:  # noqa: ANN401
        """Tune has handled what happened, or waited a tenth of a second in vain.

        An error of ours where a trial ends, in a callback or the searcher, is to Tune a failure of that trial, which it
        begins again. It is raised here once more, where Tune lets it pass.
        """
        if self.error is not None:
            raise self.error
        with self.keeping_errors():
            self.often()

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keeps an error of ours, which Tune would wrap in its own."""
        try:
            yield
        except NaspruneError as error:
            self.error = error
            raise
