"""A connection answers before any training, or says in one line why not; it tells no secrets."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from nasprune.errors import SettingsError
from sweep.tracking import mlflow_client
from sweep.tracking.mlflow_client import connect, redacted


def test_the_store_is_quiet_when_made_and_writes_ahead(tmp_path: Path, capfd):
    connection = connect(None, tmp_path)
    assert connection.local
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("name", ["runs?v=1", "my%20runs", "#1", "ü ber@x:1"])
def test_the_store_lies_in_its_storage_or_nowhere(tmp_path: Path, empty_store: Path, name: str):
    """MLflow reads two signs of a path as something else, escaped or not."""
    (tmp_path / name / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, tmp_path / name / "mlflow" / "mlflow.db")  # for the tables, which take seconds
    if {"?", "%"} & set(name):
        with pytest.raises(SettingsError, match=r"given for tracking; expected a path without '\?' and '%'"):
            connect(None, tmp_path / name)
    else:
        connection = connect(None, tmp_path / name)
        experiment = connection.client.create_experiment("scenes", connection.artifacts)
        connection.client.log_dict(connection.client.create_run(experiment).info.run_id, {}, "x.json")
        connection.check_files(connection.client.get_experiment(experiment).artifact_location)
        assert list((tmp_path / name / "mlflow").glob("artifacts/**/x.json"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_given_store_that_mlflow_would_put_elsewhere_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match="expected a path without"):
        connect(f"sqlite:///{tmp_path}/a%3Fb/x.db", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:secret@db/mlflow",
        "databricks",
        "runs",
        "file:///runs",
        "sqlite://",
        "sqlite:runs.db",
        "sqlite:",
        "http://",
        "http://[",
        "http://user:secret@[",
    ],
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
        assert time.monotonic() - start < 20
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
        (RestException({"error_code": "INTERNAL_ERROR", "message": "the database is read-only"}), True),
        (MlflowException("the client's own trouble, which has that code, too"), False),
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


def test_secrets_are_taken_out():
    assert redacted("at http://me:p@ss@host:5/x and https://a:b@c") == "at http://host:5/x and https://c"
    assert redacted("sqlite:////runs/a@b.db") == "sqlite:////runs/a@b.db"
