"""What Tune makes of our trials: which of them fail, and how many wait for their places.

A trial fails with its own errors, the second time; hosts and processes may die more often.
"""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from ray import tune

from nasprune.errors import ArtifactError, DataError, SettingsError
from sweep import schedule
from sweep import trial as real_trial
from sweep.cluster.ray_cluster import Places
from sweep.schedule import Follower
from sweep.searcher import OptunaSearcher
from sweep.space import SPACES
from sweep.stopping import BudgetStopper
from sweep.trial import telling_errors

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def unlucky(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Dies or raises some times, as its trial's name says, and notes every time that it begins."""
    begun = Path(settings.directory) / config["trial"]
    with begun.open("a") as file:
        file.write(".")
    number = len(begun.read_text())
    if number in {"t000": (1, 2, 3, 4), "t002": (2, 3)}.get(config["trial"], ()):
        os._exit(1)
    if config["trial"] == "t001" or (config["trial"], number) == ("t002", 1):
        raise ValueError("a mistake of its own")
    tune.report(
        {"finished": True, "point": "p", "points": 1, "hypervolume": 0.5, "went_on": False, "trial": config["trial"]}
    )


def lucky(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Ends as it should."""
    point = {"point": "p", "points": 1, "hypervolume": 0.5, "went_on": False, "trial": config["trial"]}
    tune.report({"finished": False, **point})
    tune.report({"finished": True, **point})


def full(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Its node's disk takes nothing more."""
    raise DataError("cannot write /cache/weights") from OSError(28, "No space left on device")


def steady(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Comes to its end, and notes every time that it begins."""
    with (Path(settings.directory) / config["trial"]).open("a") as file:
        file.write(".")
    tune.report(
        {"finished": True, "point": "p", "points": 1, "hypervolume": 0.5, "went_on": False, "trial": config["trial"]}
    )


def patient(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Ends once four trials have been suggested, although there is room for one."""
    import time

    import optuna

    deadline = time.monotonic() + 30
    while True:
        study = optuna.load_study(study_name="nasprune", storage=f"sqlite:///{settings.directory}/optuna.db")
        if len(study.trials) == 4:
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(study.trials)} trials wait or run")
        time.sleep(0.2)
    tune.report(
        {"finished": True, "point": "p", "points": 1, "hypervolume": 0.5, "went_on": False, "trial": config["trial"]}
    )


def telling(work):
    """A trial that the workers get by value: they need not find these tests, nor import what real trials work with."""

    def trial(config: dict[str, Any], *, settings: Any, ground: object) -> None:
        telling_errors(work, config, settings=settings, ground=ground)

    for function in (work, trial):
        function.__module__ = "__main__"
    return trial


class Quiet:
    """A display and a tracker that hold still."""

    def __getattr__(self, name: str):
        return lambda *_args, **_kwargs: None


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs trials of some work on a small Ray; gives the follower, what was said, and Optuna's records."""

    def build(work, trials: int, at_once: int = 1, *, tracker: Any = None, kept: Any = lambda _searcher: None):
        monkeypatch.setattr(schedule, "run_trial", telling(work))
        settings = SimpleNamespace(directory=tmp_path)
        space = next(iter(SPACES.values()))

        searcher = OptunaSearcher(
            database=tmp_path / "optuna.db", trials=trials, space=space, changed=lambda: kept(searcher),
            keeping_errors=lambda: follower.keeping_errors(),
        )  # fmt: skip
        display = Quiet()
        display.say = said.append
        follower = Follower(display, tracker or Quiet(), lambda _point: None, lambda: None)
        ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            places = Places(trial={"CPU": 1.0}, at_once=at_once, dense={}, device="cpu")
            schedule.run_trials(settings, "dense", searcher, BudgetStopper(1, {}), places, follower)
        finally:
            ray.shutdown()
            states = [trial.state.name for trial in searcher._open().get_trials()]
            searcher.close()
            records.extend(states)
        return follower, said

    records: list[str] = []
    said: list[str] = []
    build.records, build.said = records, said
    ray.cloudpickle.register_pickle_by_value(real_trial)
    yield build
    ray.cloudpickle.unregister_pickle_by_value(real_trial)
    gc.collect()  # a file that Tune leaves open where a callback or the searcher raises must not warn in another test


def test_deaths_are_forgiven_and_mistakes_are_not(tmp_path, run, capfd):
    follower, said = run(unlucky, 3)
    assert (tmp_path / "t000").read_text() == "....."
    assert (tmp_path / "t001").read_text() == ".."
    assert (tmp_path / "t002").read_text() == "....", "a mistake does not make a trial mortal"
    assert set(follower.failures) == {"t001"}
    assert "a mistake of its own" in follower.failures["t001"]
    assert run.records == ["COMPLETE", "FAIL", "COMPLETE"]
    died, erred = (
        "trial {} begins again from its checkpoint: its process or host died",
        "trial {} begins again from its checkpoint: a mistake of its own",
    )
    expected = [died.format("t000")] * 4 + [erred.format("t001"), erred.format("t002")] + [died.format("t002")] * 2
    assert sorted(said) == sorted(expected)
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err


def test_what_is_wrong_with_a_node_ends_the_study_and_no_trial(run):
    """All trials that are placed there would fail, one after the other."""
    with pytest.raises(SettingsError, match=r"trial t000 cannot go on on node .*: cannot write /cache/weights; mend"):
        run(full, 2)
    assert run.records == ["RUNNING"], "the same command takes it up again"


@pytest.mark.parametrize("where", ["callback", "searcher"])
def test_an_error_of_ours_where_a_trial_ends_ends_the_study(tmp_path, run, where):
    """To Tune it is a failure of that trial: it would begin again what is over, and the study would go on."""

    def end(_trial: str, _status: str) -> None:
        if where == "callback":
            raise SettingsError("the server refuses")

    def kept(searcher: OptunaSearcher) -> None:
        if where == "searcher" and searcher.ended():
            raise SettingsError("the server refuses")

    tracker = Quiet()
    tracker.trial_ended = end
    with pytest.raises(SettingsError, match="the server refuses"):
        run(steady, 2, tracker=tracker, kept=kept)
    assert (tmp_path / "t000").read_text() == "."
    assert not (tmp_path / "t001").exists()
    assert run.records == ["COMPLETE"]
    assert run.said == []


def test_ctrl_c_still_stops_what_comes_after_trials(run):
    """As polishing, and SIGTERM with it. Tune's own handler only notes that its trials are to end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(steady, 1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("step", ["set_trial_intermediate_value", "set_trial_state_values"])
def test_trouble_with_optunas_database_ends_the_study_and_no_trial(run, monkeypatch, step):
    """Tune wraps what its searcher raises, and would tell a trial whose end cannot be told as failed."""

    real, refused = getattr(RDBStorage, step), []

    def refuse_once(storage, trial_id, *values):
        if TrialState.RUNNING in values or refused:  # a trial begins, or there is room again
            return real(storage, trial_id, *values)
        refused.append(values)
        raise StorageInternalError("of a commit") from sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(RDBStorage, step, refuse_once)
    with pytest.raises(ArtifactError, match=r"optuna\.db cannot be used \(database or disk is full\)") as caught:
        run(lucky, 1)  # so that nothing more is asked of the searcher
    assert isinstance(caught.value.__cause__, StorageInternalError)
    assert run.said == []
    assert run.records == ["RUNNING"], "the same command takes it up again"


def test_trials_wait_together_for_places_that_a_cluster_may_still_get(run):
    """What waits is what a launcher starts machines for: one by one they would take minutes each."""
    _, said = run(patient, 4, at_once=4)
    assert said == [], "the first that ran waited in vain"
    assert run.records == ["COMPLETE"] * 4
