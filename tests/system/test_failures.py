"""What counts as a trial's failure: its own errors, the second time; hosts and processes may die more often."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune

from sweep import schedule
from sweep.cluster.ray_cluster import Places
from sweep.schedule import Follower
from sweep.searcher import OptunaSearcher
from sweep.space import SPACES
from sweep.stopping import BudgetStopper

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def unlucky(config: dict[str, Any], *, settings: Any, ground: object) -> None:
    """Dies or raises some times, as its trial's name says, and notes every time that it begins."""
    begun = Path(settings.directory) / config["trial"]
    with begun.open("a") as file:
        file.write(".")
    deaths = {"t000": 4, "t001": 0}[config["trial"]]
    if len(begun.read_text()) <= deaths:
        os._exit(1)
    if config["trial"] == "t001":
        raise ValueError("a mistake of its own")
    tune.report({"finished": True, "point": "p", "points": 1, "hypervolume": 0.5, "trial": "t000", "went_on": False})


class Quiet:
    """A display and a tracker that hold still."""

    def __getattr__(self, name: str):
        return lambda *_args, **_kwargs: None


def test_deaths_are_forgiven_and_mistakes_are_not(tmp_path, monkeypatch, capfd):
    unlucky.__module__ = "__main__"  # workers need not find these tests
    monkeypatch.setattr(schedule, "run_trial", unlucky)
    settings = SimpleNamespace(directory=tmp_path)
    space = next(iter(SPACES.values()))
    searcher = OptunaSearcher(database=tmp_path / "optuna.db", trials=2, space=space)
    display, said = Quiet(), []
    display.say = said.append
    follower = Follower(display, Quiet(), lambda _point: None, lambda: None)
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        places = Places(trial={"CPU": 1.0}, at_once=1, dense={}, device="cpu")
        schedule.run_trials(settings, "dense", searcher, BudgetStopper(1, {}), places, follower)
    finally:
        ray.shutdown()
        searcher.close()
    assert (tmp_path / "t000").read_text() == "....."
    assert (tmp_path / "t001").read_text() == ".."
    assert set(follower.failures) == {"t001"}
    assert "a mistake of its own" in follower.failures["t001"]
    died = "trial t000 begins again from its checkpoint: its process or host died"
    assert said == [died] * 4 + ["trial t001 begins again from its checkpoint: a mistake of its own"]
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
