"""What MLflow is told of points does not depend on which was finished first, nor on how often it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from torch import nn

from nasprune.artifact import Artifact
from sweep.commandline import parse_settings
from sweep.points import PointsFolder, volume
from sweep.polish import polished_name
from sweep.settings import StudySettings
from sweep.telling import Telling
from sweep.tracking.mlflow_client import default_uri
from tests.sweep.example_points import write_point
from tests.sweep.tracking.tracked import Make, everything

BUDGETS = {0.5: 0.9, 0.25: 0.85, 0.1: 0.8}
NAMES = {budget: f"t000-{budget * 100:g}pct" for budget in BUDGETS}
EPOCHS = 40


def settings_of(storage: Path, study: str, epochs: int = EPOCHS) -> StudySettings:
    budgets = ",".join(map(str, BUDGETS))
    words = ["--storage", str(storage), "--study", study, "--budgets", budgets, "--polish-epochs", str(epochs)]
    return parse_settings([*words, "--search-epochs", "1", "--tune-epochs", "2"]).resolved()


class Session:
    """A driver, as far as it tells of points."""

    def __init__(self, make: Make, settings: StudySettings) -> None:
        study = settings.study
        self.settings, self.tracker = settings, make(study=study, dataset=study)
        dense = Artifact(network=nn.Module(), record={}, directory=settings.directory)
        self.points = PointsFolder(settings.directory, dense)
        self.telling = Telling(settings, self.tracker)
        self.look()

    def look(self) -> None:
        """As at the start of a session, and at the end of each of its parts."""
        self.points.read()
        found = {"points": sorted(self.points.of_trial("t000"), key=lambda point: -point["macs_ratio"])}
        self.telling.expect(found)
        self.telling.tell(found["points"])

    def ends(self, budget: float, epochs: int = 0) -> None:
        """A point is finished."""
        name, gain = NAMES[budget], 0.05 if epochs else 0.0
        if epochs:
            name = polished_name(name, epochs)
        write_point(
            self.settings.directory, name, seed=len(self.points), trial="t000", budget=budget, cost_ratio=budget,
            macs_ratio=budget, val_accuracy=BUDGETS[budget] + gain, polish_epochs=epochs,
        )  # fmt: skip
        self.points.add(name)
        self.telling.tell(self.points.of_trial("t000"))


def state(storage: Path, study: str) -> dict:
    """What MLflow holds of the trial, without ids and times."""
    found = everything(MlflowClient(default_uri(storage)), study)
    (run,) = (run for run in found["runs"].values() if run["tags"]["nasprune.kind"] == "trial")
    return {
        "name": run["tags"]["mlflow.runName"],
        "history": {key: sorted((step, value) for step, value, _ in rows) for key, rows in run["history"].items()},
        "models": sorted(
            (params["point"], sorted((key, value, step) for key, value, step, _ in metrics))
            for _, params, metrics in found["models"].values()
        ),
    }


def polished(make: Make, storage: Path, study: str, order: tuple[float, ...], *, killed: bool = False) -> Session:
    session = Session(make, settings_of(storage, study))
    for budget in BUDGETS:
        session.ends(budget)
    session.look()
    for budget in order:
        session.ends(budget, EPOCHS)
        if killed:
            session = Session(make, settings_of(storage, study))
    session.look()
    assert session.tracker.wait(60)
    return session


def test_polished_points_that_end_in_any_order_are_told_the_same(make: Make, storage: Path):
    """With kills between them as well, and however often they are told."""
    told = []
    for number, order in enumerate([(0.5, 0.25, 0.1), (0.1, 0.25, 0.5), (0.25, 0.1, 0.5)]):
        polished(make, storage, f"s{number}", order, killed=number == 2)
        told.append(state(storage, f"s{number}"))
        assert Session(make, settings_of(storage, f"s{number}")).tracker.wait(60)
        assert state(storage, f"s{number}") == told[-1]
    assert told[0] == told[1] == told[2]


def test_the_last_hypervolume_and_the_runs_name_are_of_all_points(make: Make, storage: Path):
    """Also where the smallest network was not polished."""
    polished(make, storage, "s", (0.25, 0.5))
    assert len(state(storage, "s")["history"]["hypervolume"]) == 3, "one is still to be polished"
    session = Session(make, settings_of(storage, "s", epochs=0))  # nothing is to come any more
    assert session.tracker.wait(60)
    found = state(storage, "s")
    expected = volume(session.points.of_trial("t000"), tuple(BUDGETS))
    assert found["history"]["hypervolume"][-1][1] == pytest.approx(expected)
    assert found["name"] == f"t000: {expected:.3f}, down to 10.0% MACs"
    volumes = [value for _, value in found["history"]["hypervolume"]]
    assert volumes == sorted(volumes)
    assert len(volumes) == 5


def test_polished_points_are_told_where_one_cannot_be_polished(make: Make, storage: Path):
    """They are on the front, and who promotes one looks for it in MLflow."""
    session = polished(make, storage, "s", (0.25, 0.1))
    assert len(state(storage, "s")["models"]) == 3
    session.telling.tell(session.points.of_trial("t000"), rest=True)
    session.look()
    assert session.tracker.wait(60)
    names = [name for name, _ in state(storage, "s")["models"]]
    assert names == sorted([*NAMES.values(), *(polished_name(NAMES[budget], EPOCHS) for budget in (0.25, 0.1))])


def test_every_point_has_a_step_of_its_own_after_the_descents(make: Make, storage: Path):
    """Points polished for a while, and later for longer, are all there."""
    polished(make, storage, "s", (0.1, 0.5, 0.25))
    session = Session(make, settings_of(storage, "s", epochs=60))
    for budget in (0.25, 0.5, 0.1):
        session.ends(budget, 60)
    assert session.tracker.wait(60)
    steps = [step for step, _ in state(storage, "s")["history"]["hypervolume"]]
    assert len(set(steps)) == len(steps) == 9
    descent = session.settings.steps(session.settings.falling_budgets)
    assert [step > descent for step in steps] == [False] * 3 + [True] * 6
    assert steps[-1] == descent + len(BUDGETS) * 60
