"""A store that is away, hangs or refuses: the study goes on, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from nasprune.errors import SettingsError
from sweep import mlflow_client, tracking
from sweep.logged_models import find_model
from sweep.mlflow_client import default_uri, quiet
from sweep.tracking import Tracker
from tests.sweep.example_points import write_point
from tests.sweep.tracked import Make, check_model, everything, whole_study


def test_while_the_store_is_away_a_study_goes_on(make: Make, tmp_path: Path, monkeypatch, caplog):
    tracker = make()
    clock = [100.0]
    monkeypatch.setattr(tracking, "time", SimpleNamespace(time=time.time, monotonic=lambda: clock[0]))
    tries = []

    def away(*_args, **_kwargs):
        tries.append(clock[0])
        raise requests.ConnectionError("http://user:secret@host refused")

    point = write_point(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_runs", away)
        for second in range(200):
            clock[0] = 100.0 + second
            tracker.trial_metrics("t000", second, {"loss": float(second)})
        assert tracker.point("t000", point, step=3, hypervolume=0.5) is None
        tracker.study_ended("FINISHED")
    assert [t - 100 for t in tries] == [0, 1, 3, 7, 15, 31, 63, 123, 183, 199]
    assert caplog.text.count("does not answer; the study goes on") == 1
    assert "203 entries are not in MLflow" in caplog.text
    assert "secret" not in caplog.text
    tracker.study_ended("FINISHED")
    assert tracker.undelivered == 0
    (run,) = (r for r in everything(MlflowClient(default_uri(tmp_path)))["runs"].values() if "loss" in r["history"])
    assert [row[0] for row in run["history"]["loss"]] == list(range(200))


def test_what_a_store_refuses_is_one_line_without_secrets(make: Make, monkeypatch):
    tracker = make()

    def refuse(*_args, **_kwargs):
        raise MlflowException("no right to\nwrite at http://user:secret@host")

    monkeypatch.setattr(MlflowClient, "create_run", refuse)
    with pytest.raises(SettingsError, match="no right to write at http://host") as caught:
        tracker.trial_started("t000", {})
    assert "secret" not in str(caught.value)
    assert tracker.undelivered == 0


def serve(database: Path, artifacts: Path, port: int) -> subprocess.Popen:
    arguments = {
        "backend-store-uri": f"sqlite:///{database}",
        "artifacts-destination": artifacts,
        "host": "127.0.0.1",
        "port": port,
        "workers": 1,
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *(f"--{key}={value}" for key, value in arguments.items())],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    stop(server)
    pytest.fail("the MLflow server did not start")


def stop(server: subprocess.Popen) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.system
def test_a_server_may_hang_and_come_back(tmp_path: Path, empty_store: Path, port: int, monkeypatch, caplog):
    database = tmp_path / "server.db"
    database.write_bytes(empty_store.read_bytes())
    uri, point = f"http://127.0.0.1:{port}", write_point(tmp_path / "s")
    monkeypatch.setattr(tracking, "_PAUSES", (0.0, 0.0))
    monkeypatch.setitem(mlflow_client._CALL, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server = serve(database, tmp_path / "files", port)
    try:
        tracker = Tracker(study="s", dataset="scenes", storage=tmp_path, uri=uri, params={})
        tracker.trial_started("t000", {"budget": 0.25, "mask": "hard"})
        # What the server has taken and not answered it does later: more than a kill, this could double rows.
        os.killpg(server.pid, signal.SIGSTOP)
        tracker.trial_metrics("t000", 1, {"search_loss": 1.0})
        tracker.trial_metrics("t000", 2, {"search_loss": 0.5})
        assert tracker.point("t000", point, step=3, hypervolume=0.5) is not None
        assert tracker.undelivered == 3
        assert caplog.text.count("does not answer") == 1
        os.killpg(server.pid, signal.SIGCONT)
        monkeypatch.setitem(mlflow_client._CALL, "MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        run_id = whole_study(tracker, tmp_path, point=point)
        assert tracker.undelivered == 0
        with quiet():
            client = MlflowClient(uri)
            state = everything(client)
            again = Tracker(study="s", dataset="scenes", storage=tmp_path, uri=uri, params={})
            assert whole_study(again, tmp_path, point=point) == run_id
            for run in (after := everything(client))["runs"].values():
                run.pop("end")
            for run in state["runs"].values():
                run.pop("end")
            assert after == state
            assert [row[:2] for row in state["runs"][run_id]["history"]["search_loss"]] == [
                (1, 1.0), (2, 0.5), (3, 1 / 3),
            ]  # fmt: skip
            experiment = client.get_experiment_by_name("scenes").experiment_id
            assert find_model(client, experiment, study="s", point=point.name).status == "READY"
            check_model(client, uri, experiment, point)
        assert tracker.browse_hint().command is None
        assert tracker.browse_hint().link.startswith(f"{uri}/#/experiments/{experiment}/runs?searchFilter=")
    finally:
        stop(server)
