"""Tracking's laws: written once however often it is written, found again, loadable, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import mlflow
import mlflow.onnx
import numpy as np
import onnxruntime
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from nasprune.errors import ArtifactError, SettingsError
from sweep import mlflow_client, tracking
from sweep.logged_models import find_model
from sweep.mlflow_client import connect, default_uri, quiet, redacted
from sweep.tracking import Tracker, cut_note
from tests.sweep.example_points import SIDE, write_point

Make = Callable[..., Tracker]
FRONT = {
    "dense": {"macs": 2400, "params": 2000, "val_accuracy": 0.95, "test_accuracy": 0.94},
    "points": [
        {"point": "t000-25pct", "trial": "t000", "macs_ratio": 0.24, "val_accuracy": 0.9, "on_front": True},
        {"point": "t001-25pct", "trial": "t001", "macs_ratio": 0.25, "val_accuracy": 0.8, "on_front": False},
    ],
}


@pytest.fixture
def make(storage: Path) -> Make:
    """Makes trackers of one study; a second call is a driver that was started again."""

    def build(*, study: str = "s", **settings) -> Tracker:
        settings = {"dataset": "scenes", "storage": storage, "params": {"seed": 0}, **settings}
        return Tracker(study=study, **settings)

    return build


def whole_study(tracker: Tracker, study_dir: Path, *, point: Path) -> str | None:
    """All calls of a small study, in a driver's order."""
    tracker.trial_started("t000", {"budget": 0.25, "mask": "hard"})
    for step in (1, 2, 3):
        tracker.trial_metrics("t000", step, {"search_loss": 1 / step, "search_seconds": 0.1})
    run_id = tracker.point("t000", point)
    page = study_dir / "front.html"
    page.write_text("<p>front</p>")
    tracker.front(FRONT, files=[page], note="| point |\n|---|\n| t000 |", hypervolume=0.7)
    tracker.trial_ended("t000", "FINISHED")
    tracker.study_ended("FINISHED")
    return run_id


def everything(client: MlflowClient) -> dict:
    """All that a store holds of the data set, in a form that doubles would change."""
    (experiment,) = client.search_experiments(filter_string="name = 'scenes'")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    return {
        "runs": {
            run.info.run_id: {
                "status": run.info.status,
                "end": run.info.end_time,
                "params": run.data.params,
                "tags": run.data.tags,
                "history": {
                    key: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
                    for key in run.data.metrics
                },
                "outputs": [o.model_id for o in run.outputs.model_outputs] if run.outputs else [],
                "files": sorted(f.path for f in client.list_artifacts(run.info.run_id)),
            }
            for run in runs
        },
        "models": {
            model.model_id: (
                model.status,
                model.params,
                sorted((m.key, m.value, m.step, m.timestamp) for m in model.metrics),
            )
            for model in client.search_logged_models([experiment.experiment_id])
        },
    }


def test_a_study_is_written_once_however_often_it_is_written(make: Make, tmp_path: Path, capfd):
    point = write_point(tmp_path / "s")
    first = make()
    run_id = whole_study(first, tmp_path, point=point)
    client = MlflowClient(default_uri(tmp_path))
    before = everything(client)
    assert whole_study(first, tmp_path, point=point) == run_id
    assert whole_study(make(), tmp_path, point=point) == run_id

    after = everything(client)
    # A driver that starts sets RUNNING and ends again; nothing else may differ.
    for state in (before, after):
        for run in state["runs"].values():
            run.pop("end")
    assert after == before
    assert len(after["runs"]) == 2
    assert len(after["models"]) == 1
    assert [step for step, *_ in after["runs"][run_id]["history"]["search_loss"]] == [1, 2, 3]
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_a_trials_run_hangs_below_its_studys_and_holds_the_points_figures(make: Make, tmp_path: Path):
    tracker = make()
    run_id = whole_study(tracker, tmp_path, point=write_point(tmp_path / "s"))
    client = MlflowClient(default_uri(tmp_path))
    child, parent = client.get_run(run_id), client.get_run(tracker.run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.data.tags["nasprune.trial"], child.data.tags["nasprune.study"]) == ("t000", "s")
    assert child.data.params == {"budget": "0.25", "mask": "hard"}
    assert child.data.metrics["val_accuracy"] == 0.9
    assert child.info.status == parent.info.status == "FINISHED"
    assert parent.data.metrics == {
        "points": 2,
        "points_on_front": 1,
        "best_val_accuracy": 0.9,
        "hypervolume": 0.7,
    }
    assert parent.data.tags["mlflow.note.content"].startswith("| point |")
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "front_table.json")).read_text())
    assert [row[table["columns"].index("point")] for row in table["data"]] == ["t000-25pct", "t001-25pct"]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "front_table.json", "type": "table"}]
    files = {file.path for file in client.list_artifacts(run_id, "points/t000-25pct")}
    assert files == {f"points/t000-25pct/{name}" for name in ("point.json", "weights.safetensors", "widths.json")}
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "front.html",
        "front_table.json",
    }


def check_model(client: MlflowClient, uri: str, experiment: str, point: Path) -> None:
    """The logged model is found by its metrics and computes what the point's file computes."""
    found = client.search_logged_models([experiment], filter_string="metrics.val_accuracy > 0.5")
    assert [model.tags["nasprune.point"] for model in found] == [point.name]
    assert not client.search_logged_models([experiment], filter_string="metrics.macs_ratio > 0.5")
    images = np.random.default_rng(0).random((5, 3, SIDE, SIDE), dtype=np.float32)
    runtime = onnxruntime.InferenceSession(point / "model.onnx", providers=["CPUExecutionProvider"])
    wanted = runtime.run(["logits"], {"image": images})[0]
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model(found[0].model_uri)
        raw = mlflow.onnx.load_model(found[0].model_uri)
    finally:
        mlflow.set_tracking_uri(before)
    for given in (images, {"image": images}):
        np.testing.assert_array_equal(loaded.predict(given)["logits"], wanted)
    again = onnxruntime.InferenceSession(raw.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(again.run(["logits"], {"image": images})[0], wanted)
    assert loaded.metadata.signature.inputs.input_names() == ["image"]
    assert loaded.metadata.metadata["classes"] == ["farm", "port", "road"]


def test_a_points_model_is_found_and_computes_the_same(make: Make, tmp_path: Path):
    point = write_point(tmp_path / "s")
    make().point("t000", point)
    client = MlflowClient(default_uri(tmp_path))
    check_model(client, default_uri(tmp_path), client.get_experiment_by_name("scenes").experiment_id, point)


@pytest.mark.parametrize(
    "step",
    [
        "create_logged_model",
        "log_artifact",
        "log_model_artifacts",
        "log_outputs",
        "log_batch",
        "finalize_logged_model",
    ],
)
def test_a_kill_while_a_point_is_logged_is_mended(make: Make, tmp_path: Path, monkeypatch, step: str):
    """Each step is done, and the driver dies before it hears of it."""
    point = write_point(tmp_path / "s")
    tracker = make()
    tracker.trial_started("t000", {})
    done = getattr(MlflowClient, step)

    def killed(*args, **kwargs):
        done(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt):
            tracker.point("t000", point)
    run_id = make().point("t000", point)
    state = everything(MlflowClient(default_uri(tmp_path)))
    ((status, _, metrics),) = state["models"].values()
    assert status == "READY"
    assert len({key for key, *_ in metrics}) == len(metrics) == 7
    assert len(state["runs"][run_id]["outputs"]) == 1
    assert all(len(rows) == 1 for rows in state["runs"][run_id]["history"].values())


def test_the_first_value_at_a_step_stays(make: Make, tmp_path: Path):
    make().trial_metrics("t000", 1, {"loss": 0.5})
    tracker = make()
    tracker.trial_metrics("t000", 1, {"loss": 0.4, "accuracy": 0.9})
    tracker.trial_metrics("t000", 2, {"loss": 0.3})
    (run,) = (r for r in everything(MlflowClient(default_uri(tmp_path)))["runs"].values() if r["history"])
    assert [row[:2] for row in run["history"]["loss"]] == [(1, 0.5), (2, 0.3)]
    assert [row[:2] for row in run["history"]["accuracy"]] == [(1, 0.9)]


def test_a_trial_that_goes_on_runs_and_one_that_is_only_shown_does_not(make: Make, tmp_path: Path):
    client = MlflowClient(default_uri(tmp_path))
    point = write_point(tmp_path / "s")
    tracker = make()
    run_id = whole_study(tracker, tmp_path, point=point)
    again = make()
    assert client.get_run(again.run_id).info.status == "RUNNING"
    again.point("t000", point)
    assert client.get_run(run_id).info.status == "FINISHED"
    again.trial_started("t000", {"budget": 0.25, "mask": "hard"})
    assert client.get_run(run_id).info.status == "RUNNING"
    again.trial_ended("t000", "FAILED")
    assert client.get_run(run_id).info.status == "FAILED"


def test_no_run_is_left_running_by_a_driver_that_is_gone(make: Make, tmp_path: Path):
    client = MlflowClient(default_uri(tmp_path))
    tracker = make()
    for trial in ("t000", "t001"):
        tracker.trial_started(trial, {})
    tracker.point("t000", write_point(tmp_path / "s"))

    def states() -> list[str]:
        return [client.get_run(tracker.run_ids[trial]).info.status for trial in ("t000", "t001")]

    after = make()
    assert after.run_ids == tracker.run_ids
    assert states() == ["FINISHED", "KILLED"]
    after.trial_started("t001", {})
    assert states() == ["FINISHED", "RUNNING"]
    after.study_ended("KILLED")
    assert states() == ["FINISHED", "KILLED"]


def test_more_runs_than_a_page_are_found(make: Make, monkeypatch):
    tracker = make()
    for number in range(5):
        tracker.trial_started(f"t{number:03d}", {})
    search = MlflowClient.search_runs
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *a, **k: search(*a, **{**k, "max_results": 2}))
    assert make().run_ids == tracker.run_ids


def test_a_study_that_goes_on_is_the_same(make: Make):
    make()
    with pytest.raises(ArtifactError, match="study s is tracked with seed 0"):
        make(params={"seed": 1})


def test_studies_share_an_experiment_and_nothing_else(make: Make, tmp_path: Path):
    first, second = make(study="a"), make(study="b")
    one = first.point("t000", write_point(tmp_path / "a"))
    two = second.point("t000", write_point(tmp_path / "b", seed=1))
    assert len({one, two, first.run_id, second.run_id}) == 4
    assert len(everything(MlflowClient(default_uri(tmp_path)))["models"]) == 2


def test_another_network_under_a_points_name_is_refused(make: Make, tmp_path: Path):
    tracker = make()
    tracker.point("t000", write_point(tmp_path / "a"))
    with pytest.raises(ArtifactError, match="another network"):
        tracker.point("t000", write_point(tmp_path / "b", seed=1))
    tracker.trial_metrics("t000", 1, {"loss": 0.5})
    assert tracker.undelivered == 0, "what is refused must not hold up what follows"


def test_another_trial_under_a_trials_name_is_refused(make: Make):
    tracker = make()
    tracker.trial_started("t000", {"budget": 0.25})
    with pytest.raises(ArtifactError, match=r"budget 0\.25"):
        tracker.trial_started("t000", {"budget": 0.5})


@pytest.mark.parametrize("name", ["weights.safetensors", "model.onnx", "point.json"])
def test_a_point_that_is_not_whole_is_refused(make: Make, tmp_path: Path, name: str):
    point = write_point(tmp_path / "s")
    (point / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        make().point("t000", point)


def test_a_damaged_model_is_refused(make: Make, tmp_path: Path):
    point = write_point(tmp_path / "s")
    (point / "model.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ArtifactError, match="not a readable ONNX file"):
        make().point("t000", point)


def test_a_deleted_experiment_is_named(make: Make, tmp_path: Path):
    make()
    client = MlflowClient(default_uri(tmp_path))
    client.delete_experiment(client.get_experiment_by_name("scenes").experiment_id)
    with pytest.raises(SettingsError, match="experiment 'scenes' is deleted"):
        make()


def test_notes_fit():
    assert cut_note("short") == "short"
    lines = [f"| point {number} |" for number in range(1000)]
    note = cut_note("\n".join(lines))
    assert len(note) < 8000
    kept = note.split("\n\n")[0].split("\n")
    assert kept == lines[: len(kept)]
    assert f"{1000 - len(kept)} more lines" in note


def test_the_store_is_quiet_when_made_and_writes_ahead(tmp_path: Path, capfd):
    connection = connect(None, tmp_path)
    assert connection.local
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_hint_shows_how_to_browse(make: Make, tmp_path: Path):
    tracker = make()
    tracker.point("t000", write_point(tmp_path / "s"))
    tracker.point("t001", write_point(tmp_path / "s", "t001-25pct", seed=1, val_accuracy=0.95))
    hint = tracker.browse_hint(port=5005)
    assert hint.command == (
        f"uv run mlflow ui --backend-store-uri {default_uri(tmp_path)} --host 127.0.0.1 --port 5005"
    )
    start = "http://127.0.0.1:5005/#/experiments/1/runs"
    assert hint.link.startswith(f"{start}?searchFilter=tags.%60nasprune.study%60")
    assert hint.front.startswith(f"{start}/{tracker.run_id}")
    query = parse_qs(urlsplit(hint.link.replace("/#", "")).query)
    found = MlflowClient(default_uri(tmp_path)).search_runs(
        ["1"], query["searchFilter"][0], order_by=[f"{query['orderByKey'][0]} DESC"]
    )
    assert [run.info.run_id for run in found] == [tracker.run_ids[trial] for trial in ("t001", "t000")]


@pytest.mark.parametrize(
    "uri",
    ["postgresql://user:secret@db/mlflow", "databricks", "runs", "file:///runs", "sqlite://", "http://"],
)
def test_uris_of_other_kinds_are_refused(tmp_path: Path, uri: str):
    with pytest.raises(SettingsError, match=r"tracking URI .* given; expected") as caught:
        connect(uri, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "x.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(SettingsError, match="not a database"):
        connect(f"sqlite:///{tmp_path}/x.db", tmp_path)


class Wrong(BaseHTTPRequestHandler):
    """Some other web server."""

    def do_POST(self):
        self.send_response(404)
        self.end_headers()

    do_GET = do_POST  # noqa: N815  # the base class's name

    def log_message(self, *_args):
        pass


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("kind", ["nobody", "silent", "other"])
def test_a_server_that_does_not_answer_is_told_soon(tmp_path: Path, kind: str, port: int, caplog, monkeypatch):
    monkeypatch.setitem(mlflow_client._PROBE, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent, ThreadingHTTPServer(("127.0.0.1", 0), Wrong) as other:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        Thread(target=other.serve_forever, daemon=True).start()
        ports = {"nobody": port, "silent": silent.getsockname()[1], "other": other.server_port}
        start = time.monotonic()
        with pytest.raises(SettingsError, match="expected an MLflow server that answers") as caught:
            connect(f"http://user:secret@127.0.0.1:{ports[kind]}", tmp_path)
        assert time.monotonic() - start < 5
        other.shutdown()
    assert "secret" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("problem", "away"),
    [
        (MlflowException("API request to http://h/x failed with exception"), True),
        (MlflowException("locked", error_code=TEMPORARILY_UNAVAILABLE), True),
        (requests.ConnectionError("reset"), True),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "API request to"}), False),
        (MlflowException("no such run", error_code=RESOURCE_DOES_NOT_EXIST), False),
        (ValueError("ours"), False),
    ],
)
def test_only_a_store_that_is_away_is_waited_for(problem, away):
    assert mlflow_client.unreachable(problem) is away


@pytest.mark.parametrize("status", [404, 503])
def test_a_files_refusal_is_told_from_a_servers_trouble(status):
    response = requests.Response()
    response.status_code = status
    assert mlflow_client.unreachable(requests.HTTPError(response=response)) is (status == 503)


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
        assert tracker.point("t000", point) is None
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


def test_secrets_are_taken_out():
    assert redacted("at http://me:p@ss@host:5/x and https://a:b@c") == "at http://host:5/x and https://c"
    assert redacted("sqlite:////runs/a@b.db") == "sqlite:////runs/a@b.db"


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
        assert tracker.point("t000", point) is not None
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
