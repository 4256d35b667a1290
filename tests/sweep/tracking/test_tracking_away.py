"""A store that is away, slow, hangs or refuses: the study goes on, nothing is lost or doubled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import botocore.exceptions
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from nasprune.errors import SettingsError
from sweep.tracking import delivery, mlflow_client
from sweep.tracking import tracker as tracking
from sweep.tracking.dataset_run import log_dataset_front
from sweep.tracking.logged_models import find_model
from sweep.tracking.mlflow_client import connect, default_uri, quiet
from sweep.tracking.tracker import Tracker
from sweep.tracking.writer import Tracked, Writer
from tests.servers import Gate, Server
from tests.sweep.example_points import write_point
from tests.sweep.tracking.tracked import FRONT, Make, check_model, everything, whole_study


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(delivery, "_PAUSES", (0.05, 0.05))


def test_pauses_grow_and_end():
    assert [delivery.pause(failures) for failures in (0, 1, 5, 10**6)] == [0.05] * 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "_PAUSES", (1.0, 15.0))
        assert [delivery.pause(failures) for failures in (0, 1, 2, 3, 4, 10**6)] == [1, 2, 4, 8, 15, 15]


def test_while_the_store_is_away_a_study_goes_on(make: Make, tmp_path: Path, monkeypatch, caplog):
    tracker = make()
    assert tracker.wait(60)

    def away(*_args, **_kwargs):
        raise requests.ConnectionError("http://user:secret@host refused")

    point = write_point(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_runs", away)
        before = int(time.time() * 1000)
        for step in range(200):
            tracker.trial_metrics("t000", step, {"loss": float(step)})
        tracker.point("t000", point, step=200, hypervolume=0.5)
        tracker.trial_ended("t000", "FINISHED")
        tracker.study_ended("FINISHED")
        after = int(time.time() * 1000)
        assert tracker.undelivered == 203
        assert not tracker.run_ids
    asked = []
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a, **k: (asked.append(a), log_batch(*a, **k))[1])
    assert caplog.text.count("does not answer; the study goes on") == 1
    assert "203 entries are not in MLflow" in caplog.text
    assert "secret" not in caplog.text
    assert tracker.wait(60)
    assert tracker.undelivered == 0
    assert len(asked) <= 5, "what waited is told together"
    state = everything(MlflowClient(default_uri(tmp_path)))
    run = state["runs"][tracker.run_ids["t000"]]
    assert [row[:2] for row in run["history"]["loss"]] == [(step, float(step)) for step in range(200)]
    times = [time_ms for rows in run["history"].values() for _, _, time_ms in rows]
    assert before <= min(times) <= max(times) <= after, "what waited has the time at which it was said"
    assert before <= run["end"] <= after
    assert {run["status"] for run in state["runs"].values()} == {"FINISHED"}


def test_only_the_newest_front_is_shown_and_every_count_is_kept(make: Make, tmp_path: Path, monkeypatch):
    tracker = make()
    assert tracker.wait(60)
    shown = []
    log_artifact = MlflowClient.log_artifact
    monkeypatch.setattr(
        MlflowClient,
        "log_artifact",
        lambda self, run, path, *more: (shown.append(path), log_artifact(self, run, path, *more)),
    )

    def away(*_args, **_kwargs):
        raise requests.ConnectionError

    page = tmp_path / "s" / "front.html"
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", away)
        for points in (0, 1, 2):
            page.write_text(f"{points} points")
            front = {**FRONT, "points": FRONT["points"][:points]}
            tracker.front(front, files=[page], note=f"{points} points", hypervolume=points / 10)
        assert tracker.undelivered == 4
    assert tracker.wait(60)
    assert [Path(path).name for path in shown] == ["front.html", "front_table.json"]
    client = MlflowClient(default_uri(tmp_path))
    run = everything(client)["runs"][tracker.run_id]
    assert run["tags"]["mlflow.note.content"] == "2 points"
    assert Path(client.download_artifacts(tracker.run_id, "front.html")).read_text() == "2 points"
    assert [row[:2] for row in run["history"]["hypervolume"]] == [(0, 0.0), (1, 0.1), (2, 0.2)]


def test_what_a_store_refuses_is_one_line_without_secrets(make: Make, tmp_path: Path, monkeypatch):
    """The next call raises it; what follows goes on; a session that finds the rights mended delivers it."""
    tracker = make()
    assert tracker.wait(60)

    def refuse(*_args, **_kwargs):
        raise MlflowException("no right to\nwrite at http://user:secret@host")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", refuse)
        tracker.trial_metrics("t000", 1, {"loss": 0.5})
        with pytest.raises(SettingsError, match="no right to write at http://host") as caught:
            tracker.wait(60)
    assert "secret" not in str(caught.value)
    tracker.trial_metrics("t001", 1, {"loss": 0.25})
    tracker.study_ended("FAILED")
    assert tracker.undelivered == 0
    assert set(tracker.run_ids) == {"t001"}
    again = make()
    assert again.wait(60)
    history = everything(MlflowClient(default_uri(tmp_path)))["runs"][again.run_ids["t000"]]["history"]
    assert [row[:2] for row in history["loss"]] == [(1, 0.5)]


def test_of_what_is_told_together_only_the_refused_is_refused(make: Make, tmp_path: Path, monkeypatch):
    tracker = make()
    assert tracker.wait(60)
    log_batch = MlflowClient.log_batch

    def picky(self, run_id, metrics=(), **more):
        if any(metric.value == 3 for metric in metrics):
            raise MlflowException("not this one")
        log_batch(self, run_id, metrics=metrics, **more)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", lambda *_a, **_k: (_ for _ in ()).throw(requests.ConnectionError()))
        for step in range(6):
            tracker.trial_metrics("t000", step, {"loss": step})
        assert not tracker.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", picky)
        with pytest.raises(SettingsError, match="not this one"):
            tracker.wait(60)
    again = make()
    assert again.wait(60)
    history = everything(MlflowClient(default_uri(tmp_path)))["runs"][again.run_ids["t000"]]["history"]
    assert sorted(row[:2] for row in history["loss"]) == [(step, step) for step in range(6)]


def test_a_refusal_reaches_a_call_that_says_something(make: Make, monkeypatch):
    tracker = make()
    monkeypatch.setattr(MlflowClient, "create_run", lambda *_a, **_k: (_ for _ in ()).throw(MlflowException("no")))
    deadline = time.monotonic() + 60
    with pytest.raises(SettingsError, match="expected a store that takes what is written"):
        for step in range(10**6):
            tracker.trial_metrics("t000", step, {"loss": 0.5})
            assert time.monotonic() < deadline


def test_a_store_whose_files_go_where_a_package_lacks_says_so_before_any_training(make: Make, tmp_path: Path):
    connect(None, tmp_path).client.create_experiment("scenes", "gs://bucket/mlflow")
    with pytest.raises(SettingsError, match=r"it keeps files where the package google is needed: install it"):
        make()


def test_a_storage_that_was_moved_says_so_before_any_training(make: Make, storage: Path):
    connect(None, storage).client.create_experiment("scenes", "file:///was/here/mlflow/artifacts")
    (storage / "mlflow" / "artifacts").mkdir()
    with pytest.raises(SettingsError, match=r"were in .was.here.mlflow.artifacts, where there is nothing now"):
        make()


def test_a_copied_storage_does_not_write_into_the_one_it_was_copied_from(storage: Path, tmp_path_factory):
    original = Tracked(study="s", dataset="scenes", storage=str(storage), uri=None, params={}, directory=str(storage))
    Writer(original)
    copy = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(storage, copy)
    files = {path: path.stat().st_mtime_ns for path in storage.glob("mlflow/artifacts/**/*")}
    with pytest.raises(SettingsError, match=f"a copy of a store that keeps its files in {storage}/mlflow/artifacts;"):
        Writer(replace(original, storage=str(copy)))
    page = copy / "front.html"
    page.write_text("<p>front</p>")
    with pytest.raises(SettingsError, match="a copy of a store"):
        log_dataset_front(connect(None, copy), "scenes", of="scenes", name="f", files=[page], note="", metrics={})
    assert {path: path.stat().st_mtime_ns for path in storage.glob("mlflow/artifacts/**/*")} == files
    shutil.rmtree(copy)
    copy.symlink_to(storage)  # the same by another name
    Writer(replace(original, storage=str(copy)))


def test_a_bucket_of_files_that_is_away_is_waited_for_and_one_that_refuses_is_told(
    make: Make, tmp_path: Path, monkeypatch
):
    """What moves files for MLflow raises errors of its own, which are neither MLflow's nor of the system."""
    tracker = make()
    assert tracker.wait(60)
    (tmp_path / "s" / "front.html").write_text("<p>front</p>")
    problem: Exception = botocore.exceptions.EndpointConnectionError(endpoint_url="http://user:secret@s3")

    def fail(*_args, **_kwargs):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", fail)
        tracker.front(FRONT, files=[tmp_path / "s" / "front.html"], note="a front", hypervolume=0.7)
        assert not tracker.wait(60)
        problem = botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        with pytest.raises(SettingsError, match="AccessDenied"):
            tracker.wait(60)
    again = make()
    assert again.wait(60), "a session that finds the rights mended delivers it"
    assert "front.html" in everything(MlflowClient(default_uri(tmp_path)))["runs"][again.run_id]["files"]


def test_a_mistake_of_ours_is_not_lost_in_the_thread(make: Make, monkeypatch):
    tracker = make()
    assert tracker.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr(tracker._writer._runs._client, "log_batch", None)
        tracker.trial_metrics("t000", 1, {"loss": 0.5})
        with pytest.raises(TypeError):
            tracker.wait(60)
    assert tracker.wait(60), "it is kept, and delivered by those who can"


@pytest.fixture(scope="module")
def server(tmp_path_factory, empty_store: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.db").write_bytes(empty_store.read_bytes())
    server = Server(f"sqlite:///{folder}/server.db", folder / "files")
    server.start()
    yield server
    server.kill()


def tracker_of(uri: str, dataset: str, folder: Path, **settings) -> Tracker:
    outbox = folder / "s" / "outbox"
    return Tracker(study="s", dataset=dataset, storage=folder, outbox=outbox, uri=uri, params={}, **settings)


@pytest.mark.system
def test_a_server_may_hang_and_come_back(tmp_path: Path, server: Server, monkeypatch, caplog):
    point = write_point(tmp_path / "s")
    monkeypatch.setitem(mlflow_client._CALL, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    tracker = tracker_of(server.uri, "hangs", tmp_path, writer=Writer)
    tracker.trial_started("t000", {"budget": 0.25, "mask": "hard"})
    assert tracker.wait(60)
    # What the server has taken and not answered it does later: more than a kill, this could double rows.
    server.signal(signal.SIGSTOP)
    tracker.trial_metrics("t000", 1, {"search_loss": 1.0})
    tracker.trial_metrics("t000", 2, {"search_loss": 0.5})
    tracker.trial_metrics("t001", 1, {"search_loss": 0.5})
    tracker.point("t000", point, step=3, hypervolume=0.5)
    assert not tracker.wait(60)
    assert tracker.undelivered == 4
    assert caplog.text.count("does not answer") == 1
    server.signal(signal.SIGCONT)
    monkeypatch.setitem(mlflow_client._CALL, "MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    run_id = whole_study(tracker, tmp_path, point=point)
    with quiet():
        client = MlflowClient(server.uri)
        state = everything(client, "hangs")
        tracker.close()
        again = tracker_of(server.uri, "hangs", tmp_path)
        assert whole_study(again, tmp_path, point=point) == run_id
        again.close()
        for run in (after := everything(client, "hangs"))["runs"].values():
            run.pop("end")
        for run in state["runs"].values():
            run.pop("end")
        assert after == state
        assert len(state["runs"]) == 3
        assert [row[:2] for row in state["runs"][run_id]["history"]["search_loss"]] == [
            (1, 1.0), (2, 0.5), (3, 1 / 3),
        ]  # fmt: skip
        experiment = client.get_experiment_by_name("hangs").experiment_id
        assert find_model(client, experiment, study="s", point=point.name).status == "READY"
        check_model(client, server.uri, experiment, point)
    assert again.browse_hint().command is None
    assert again.browse_hint().link.startswith(f"{server.uri}/#/experiments/{experiment}/runs?searchFilter=")


@pytest.mark.system
def test_a_slow_server_holds_up_no_call(tmp_path: Path, server: Server, monkeypatch, caplog):
    """All calls return while the server has not answered one of them, and the end waits no longer than it says."""
    point = write_point(tmp_path / "s")
    with Gate(server.port) as gate:
        gate.open.set()
        tracker = tracker_of(gate.uri, "slow", tmp_path)
        assert tracker.wait(60)
        gate.open.clear()
        for step in range(1, 31):
            tracker.trial_metrics("t000", step, {"loss": 1 / step})
        tracker.point("t000", point, step=30, hypervolume=0.5)
        tracker.trial_ended("t000", "FINISHED")
        monkeypatch.setattr(tracking, "_LAST", 0.1)
        tracker.study_ended("FINISHED")
        assert tracker.undelivered == 33
        assert "33 entries are not in MLflow" in caplog.text
        assert f"{gate.uri} does not answer in time" in caplog.text
        gate.open.set()
        assert tracker.wait(60)
        with quiet():
            run = everything(MlflowClient(server.uri), "slow")["runs"][tracker.run_ids["t000"]]
        assert [row[:2] for row in run["history"]["loss"]] == [(step, 1 / step) for step in range(1, 31)]
        assert run["status"] == "FINISHED"
        tracker.close()
        gate.shutdown()


DRIVER = """
import sys, time
from pathlib import Path
from tests.sweep.tracking.test_tracking_away import tracker_of
uri, folder = sys.argv[1], Path(sys.argv[2])
tracker = tracker_of(uri, "killed", folder)
for trial in ("t000", "t001"):
    tracker.trial_started(trial, {})
for step in range(1, 10**6):
    for trial in ("t000", "t001"):
        tracker.trial_metrics(trial, step, {"loss": 1 / step})
    if step == 30:
        tracker.point("t000", folder / "s" / "points" / "t000-25pct", step=30, hypervolume=0.5)
    print(step, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.system
def test_server_and_driver_are_killed_and_the_next_session_delivers_all(tmp_path: Path, server: Server):
    """The server in the middle of the deliveries, the driver while the server is away: each metric is there, once."""
    write_point(tmp_path / "s")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, server.uri, str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    try:
        while (told := int(driver.stdout.readline())) < 20:
            pass
        server.kill()
        while (told := int(driver.stdout.readline())) < 100:
            pass
    finally:
        driver.kill()
        told = int((driver.stdout.read().splitlines() or [told])[-1])
        driver.wait()
        driver.stdout.close()
        killed = int(time.time() * 1000)
        server.start()
    tracker = tracker_of(server.uri, "killed", tmp_path)
    assert tracker.undelivered > 100
    tracker.study_ended("FINISHED")
    assert tracker.undelivered == 0
    tracker.close()
    with quiet():
        state = everything(MlflowClient(server.uri), "killed")
    assert len(state["runs"]) == 3
    assert [status for status, *_ in state["models"].values()] == ["READY"]
    for trial in ("t000", "t001"):
        run = state["runs"][tracker.run_ids[trial]]
        assert run["status"] == "KILLED"
        steps = [step for step, _, _ in run["history"]["loss"]]
        assert steps == list(range(1, len(steps) + 1))
        assert told <= len(steps) <= told + 1
        times = [time_ms for _, _, time_ms in run["history"]["loss"]]
        assert times == sorted(times)
        assert times[-1] <= killed, "what waited has the time at which it was said"
