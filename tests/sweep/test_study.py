"""How a study's end is told, and what a driver leaves alone once another process has taken its study over."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient

from nasprune.errors import SettingsError
from sweep import showing
from sweep.showing import FRONT_FILES, Showing
from sweep.storage import claim as claiming
from sweep.storage.bucket import MIRRORS, Bucket
from sweep.storage.claim import Claim
from sweep.study import Outcome, telling_end
from sweep.tracking.mlflow_client import default_uri
from tests.sweep.report.fronts import front_of
from tests.sweep.tracking.tracked import Make

FRONT = front_of([(0.24, 0.9, 0.25)], cost_ratio=0.24)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch) -> Bucket:
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mirrors"))
    return Bucket((tmp_path / "bucket").as_uri())


@pytest.fixture
def claim(bucket: Bucket) -> Claim:
    """On a study "s"."""
    return Claim(bucket, "s", "this one")


@pytest.fixture
def lose(bucket: Bucket, claim: Claim) -> Callable[[], None]:
    """This driver does not reach the bucket for long, and another one takes over."""

    def taken_over() -> None:
        bucket.write("s/claim.json", json.dumps({"owner": "another"}).encode())
        claim._seen -= claiming.LIFE

    return taken_over


def outcome(unfinished: int) -> Outcome:
    return Outcome(front=FRONT, failures={}, stopped=0, unfinished=unfinished)


@pytest.mark.parametrize(
    ("end", "status"),
    [(0, "FINISHED"), (1, "KILLED"), (SettingsError("wrong"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
def test_how_a_study_ended_is_told(end: int | BaseException, status: str):
    """Ctrl-C does the same to MLflow whatever the study was at."""
    told: list[str] = []
    tracker: Any = SimpleNamespace(study_ended=told.append, close=lambda: told.append("closed"))

    def run() -> Outcome:
        if isinstance(end, BaseException):
            raise end
        return outcome(end)

    with nullcontext() if isinstance(end, int) else pytest.raises(type(end)):
        telling_end(run, tracker, None)
    assert told == [status, "closed"]


def test_the_runs_of_a_study_that_was_taken_over_are_left_to_its_new_driver(
    make: Make, tmp_path: Path, claim: Claim, lose
):
    tracker = make()
    tracker.trial_started("t000", {})
    assert tracker.wait(60)
    lose()

    def run() -> Outcome:
        claim.check()
        return outcome(0)

    with pytest.raises(SettingsError, match="was taken over by another process"):
        telling_end(run, tracker, claim)
    client = MlflowClient(default_uri(tmp_path))
    assert {client.get_run(run).info.status for run in (tracker.run_id, tracker.run_ids["t000"])} == {"RUNNING"}


def test_an_end_is_not_told_where_another_may_have_taken_over(bucket: Bucket, claim: Claim, lose, monkeypatch):
    """The bucket is cut off, and the MLflow server is not."""
    lose()

    def cut_off(_: str) -> bytes:
        raise OSError("no route to the bucket")

    monkeypatch.setattr(bucket, "read", cut_off)
    told: list[str] = []
    tracker: Any = SimpleNamespace(study_ended=told.append, close=lambda: told.append("closed"))
    telling_end(lambda: outcome(0), tracker, claim)
    assert told == ["closed"]


@pytest.fixture
def show(bucket: Bucket, monkeypatch):
    """Begins to show a front, which is drawn while something else happens; what MLflow is told of it."""
    told: list[Any] = []

    def build(claim: Claim | None, meanwhile: Callable[[], None] = lambda: None) -> Showing:
        def drawing(front: Path, *pictures: Path) -> Any:
            for picture in pictures:
                picture.write_bytes(front.read_bytes())
            return SimpleNamespace(end=meanwhile)

        monkeypatch.setattr(showing, "Drawing", drawing)
        settings: Any = SimpleNamespace(
            directory=bucket.root / "s", study="s", budgets=(0.25,), place=lambda: bucket, storage="gs://b/runs",
            tracking_uri="https://me:secret@host",
        )  # fmt: skip
        tracker: Any = SimpleNamespace(front=lambda front, **_more: told.append(front))
        return Showing(settings, FRONT, tracker, claim)

    build.told = told
    return build


def test_a_front_is_stored_and_tracked_once_it_is_drawn(bucket: Bucket, claim: Claim, show):
    begun = show(claim)
    assert bucket.names("s") == []
    begun.end()
    assert sorted(bucket.names("s")) == sorted(FRONT_FILES)
    (front,) = show.told
    assert front == {**FRONT, "places": ["--storage", "gs://b/runs", "--tracking-uri", "https://host"]}


def test_a_front_of_a_study_that_was_taken_over_while_it_was_drawn_is_not_stored(
    bucket: Bucket, claim: Claim, lose, show
):
    begun = show(claim, lose)
    with pytest.raises(SettingsError, match="was taken over by another process"):
        begun.end()
    assert bucket.names("s") == ["claim.json"]
    assert show.told == []


def test_a_front_of_a_study_that_was_taken_over_is_not_begun(bucket: Bucket, claim: Claim, lose, show):
    lose()
    with pytest.raises(SettingsError, match="was taken over by another process"):
        show(claim)
    assert not (bucket.root / "s" / "front.json").exists()
