"""Tracking as teams have it: a server on PostgreSQL, files in an S3 store; what is killed there comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from sweep.tracking import delivery
from sweep.tracking.mlflow_client import quiet
from sweep.tracking.tracker import Tracker
from tests.servers import Bucket, Postgres, Server, postgres_programs
from tests.sweep.example_points import write_point
from tests.sweep.tracking.tracked import check_model, everything, whole_study

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed: needs initdb and postgres"),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    postgres = Postgres()
    postgres.start()
    yield postgres
    postgres.remove()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    bucket = Bucket()
    yield bucket
    bucket.kill()


@pytest.fixture(scope="module")
def server(postgres: Postgres, bucket: Bucket) -> Iterator[Server]:
    server = Server(postgres.uri, f"{bucket.uri}/files", bucket.environment)
    server.start()
    yield server
    server.kill()


def tracker_of(server: Server, study: str, folder: Path) -> Tracker:
    outbox = folder / study / "outbox"
    return Tracker(study=study, dataset=study, storage=folder, outbox=outbox, uri=server.uri, params={"seed": 0})


def test_a_study_is_written_and_read_back(tmp_path: Path, server: Server, bucket: Bucket, postgres: Postgres):
    point = write_point(tmp_path / "s")
    tracker = tracker_of(server, "s", tmp_path)
    run_id = whole_study(tracker, tmp_path, point=point)
    tracker.close()
    with quiet():
        client = MlflowClient(server.uri)
        state = everything(client, "s")
        again = tracker_of(server, "s", tmp_path)
        assert whole_study(again, tmp_path, point=point) == run_id
        again.close()
        after = everything(client, "s")
        for run in (*state["runs"].values(), *after["runs"].values()):
            run.pop("end")
        assert after == state
        check_model(client, server.uri, client.get_experiment_by_name("s").experiment_id, point)
    assert any(name.endswith("/model.onnx") for name in bucket.names())
    rows = postgres.ask(f"SELECT step, value FROM metrics WHERE run_uuid = '{run_id}' AND key = 'search_loss'")
    assert sorted(rows) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_the_database_is_killed_and_comes_back(tmp_path: Path, server: Server, postgres: Postgres, monkeypatch):
    """The MLflow server lives and says that it cannot; that is waited for, and no row is lost or doubled."""
    monkeypatch.setattr(delivery, "_PAUSES", (0.2, 0.2))
    tracker = tracker_of(server, "killed", tmp_path)
    for step in range(200):
        tracker.trial_metrics("t000", step, {"loss": float(step)})
        if step == 100:
            postgres.kill()
    assert not tracker.wait(60)
    left = tracker.undelivered
    assert left >= 99, "those that were said after the kill"
    postgres.start()
    tracker.trial_ended("t000", "FINISHED")
    tracker.study_ended("FINISHED")
    assert tracker.undelivered == 0
    tracker.close()
    rows = postgres.ask(f"SELECT step, value FROM metrics WHERE run_uuid = '{tracker.run_ids['t000']}'")
    assert sorted(rows) == [(step, float(step)) for step in range(200)]
