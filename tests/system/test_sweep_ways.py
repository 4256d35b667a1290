"""Ways to sweep: with early stopping, a budget a trial, by latency; all with a network of the user's own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.system import own
from tests.system.studies import front_of, promote, runs, sweep

BANDS = ("--bands", "3,1")

pytestmark = [
    pytest.mark.system,
    # MLflow's client warns of its own loaders and of the interpreter's age; nothing its users can mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def test_stopped_trials_stay_stopped_and_keep_their_points(tmp_path, monkeypatch):
    """With early stopping every trial has a first point, some no second; running again changes nothing.

    Two trials run at once.
    """
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2}')
    stopping = ("--trials", "5", "--reduction-factor", "8", "--budgets", "0.5,0.2,0.1")
    done = sweep(tmp_path, *stopping)
    assert done.returncode == 0, done.stdout + done.stderr
    front = front_of(tmp_path, "own")
    visited = {trial: sum(p["trial"] == trial for p in front["points"]) for trial in (f"t{n:03d}" for n in range(5))}
    assert min(visited.values()) >= 1
    stopped = {trial for trial, count in visited.items() if count < 3}
    assert stopped, "a factor of 8 let all five trials go on"
    assert f"{len(stopped)} of 5 trials were stopped early" in done.stdout
    import optuna

    study = optuna.load_study(study_name="nasprune", storage=f"sqlite:///{tmp_path / 'own' / 'optuna.db'}")
    told = {f"t{trial.user_attrs['slot']:03d}": trial.state.name for trial in study.trials}
    assert told == {trial: "PRUNED" if trial in stopped else "COMPLETE" for trial in visited}
    again = sweep(tmp_path, *stopping)
    assert again.returncode == 0, again.stderr
    assert front_of(tmp_path, "own") == front
    _, tracked = runs(tmp_path)
    assert len(tracked) == 6
    assert {run.info.status for run in tracked} == {"FINISHED"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """Of two studies of two bands of one data set."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def targets(storage):
    """The first of them, with a trial for each budget; gives what it said."""
    done = sweep(storage, *BANDS, "--mode", "target")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_trial_for_each_budget(storage, targets):
    assert [point["point"] for point in front_of(storage, "own")["points"]] == ["t001-50pct", "t000-20pct"]
    assert "on one front" not in targets


def test_bands_from_images_to_the_registered_model(storage, targets):
    point = front_of(storage, "own")["points"][0]
    record = json.loads((storage / "own" / point["artifact"] / "point.json").read_text())
    assert (record["bands"], record["bit_depth"]) == (2, 8)
    promoted = promote(storage, "--study", "own", "--point", point["point"], "--alias", "champion")
    assert promoted.returncode == 0, promoted.stderr
    assert "# float32 (batch, 2, 32, 32), bands 3,1 over 255, in [0, 1]" in promoted.stdout
    lines = [line.strip() for line in promoted.stdout.splitlines()]
    load = lines[lines.index("import mlflow") :][:3]
    asked = "print(model.metadata.get_input_schema().inputs[0].shape)"
    loaded = subprocess.run(
        [sys.executable, "-c", "\n".join([*load, asked])], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "(-1, 2, 32, 32)"


def test_budgets_of_latency_with_round_widths_in_the_second_study_of_a_data_set(storage, targets):
    by_latency = ("--network", own.WIDE, "--cost", "latency", "--round-to", "8", "--budgets", "0.6", "--trials", "1")
    done = sweep(storage, *BANDS, "--study", "wide", *by_latency)
    assert done.returncode == 0, done.stdout + done.stderr
    (point,) = front_of(storage, "wide")["points"]
    assert point["cost"] == "latency"
    assert 0 < point["cost_ratio"] <= 0.6
    assert all(width % 8 == 0 for width in point["widths"].values())
    table = json.loads((storage / "wide" / "latency.json").read_text())
    assert table["runtime"] == "onnxruntime"
    assert "2 studies of scenes on one front: " in done.stdout
    across = json.loads((storage / "shared" / "fronts" / "scenes" / "front.json").read_text())
    assert {study["study"] for study in across["studies"]} == {"own", "wide"}
    _, tracked = runs(storage)
    assert sum(run.info.run_name == "front of scenes" for run in tracked) == 1
