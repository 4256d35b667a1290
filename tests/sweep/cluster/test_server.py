"""The MLflow server's keeper: it lives as long as what it serves, and so does what it keeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from nasprune.errors import SettingsError
from sweep.cluster import server
from sweep.storage.bucket import open_storage
from tests.buckets import KEYS, s3_server

SLEEPER = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(600)"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(server, "_LOOK", 0.05)
    monkeypatch.setattr(server, "_GONE", 0.3)


def begun(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_served_until_nothing_is_alive(tmp_path):
    path = tmp_path / "begun"
    server.serve([sys.executable, "-c", SLEEPER, str(path)], lambda: not begun(path), {})
    (number,) = begun(path)
    assert not running(number)


def test_short_silence_ends_nothing_and_what_dies_is_begun_again(tmp_path):
    path = tmp_path / "begun"
    silences = iter([False] * 2)

    def alive() -> bool:
        if len(begun(path)) == 1:
            silent = next(silences, None)
            if silent is None:
                with suppress(ProcessLookupError):  # it is gone, and the next one has not told its number yet
                    os.kill(begun(path)[0], signal.SIGKILL)
            return silent is None
        return len(begun(path)) < 2

    server.serve([sys.executable, "-c", SLEEPER, str(path)], alive, {})
    assert len(begun(path)) == 2
    assert not any(running(number) for number in begun(path))


def test_told_to_end(tmp_path):
    path = tmp_path / "begun"
    words = [sys.executable, "-c", SLEEPER, str(path)]
    code = f"from sweep.cluster import server; server._LOOK = 0.05; server.serve({words!r}, lambda: True, {{}})"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not begun(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not running(begun(path)[0])


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_database_that_mlflow_would_look_for_elsewhere_is_refused(tmp_path, name):
    path = tmp_path / name / "mlflow.db"
    with pytest.raises(SettingsError, match="expected a path without '\\?' and '%'"):
        server.main(["--artifacts", "s3://b", "--database", str(path)])
    assert not path.parent.exists()


def test_artifacts_go_to_the_storage(monkeypatch):
    monkeypatch.setenv("NASPRUNE_STORAGE", "s3://bucket/studies?region=eu")
    assert server._parse([]).artifacts == "s3://bucket/studies/mlflow/artifacts"
    monkeypatch.delenv("NASPRUNE_STORAGE")
    with pytest.raises(SettingsError, match="neither --artifacts nor NASPRUNE_STORAGE"):
        server._parse([])


def environment_of_what_is_served(path: Path, variables: dict[str, str]) -> dict[str, str]:
    write = "import json, os, sys, time; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ))); time.sleep(600)"
    words = [sys.executable, "-c", write, str(path)]
    server.serve(words, lambda: not path.exists() or not path.read_text(), variables)
    return json.loads(path.read_text())


def test_a_server_of_another_s3_store_finds_it(monkeypatch, tmp_path):
    """What the storage's address says behind the question mark, MLflow reads from its environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "mirror"))
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with s3_server() as store:
        storage = f"{store.address('bucket/studies')}&region=eu-west-1"
        monkeypatch.setenv("NASPRUNE_STORAGE", storage)
        given = server._parse([])
        seen = environment_of_what_is_served(tmp_path / "seen", given.environment)
        assert (seen["MLFLOW_S3_ENDPOINT_URL"], seen["AWS_DEFAULT_REGION"]) == (store.url, "eu-west-1")
        for name in given.environment:
            monkeypatch.setenv(name, seen[name])
        get_artifact_repository(given.artifacts).log_artifact(str(tmp_path / "seen"))
        assert open_storage(storage).fetch_file("mlflow/artifacts/seen")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("s3://b/x", ("s3://b/x", {})),
        ("s3://b/x?endpoint_override=h:9", ("s3://b/x", {"MLFLOW_S3_ENDPOINT_URL": "https://h:9"})),
        ("gs://b/x?retry_limit_seconds=5&scheme=http", ("gs://b/x", {})),
        ("/what?/x", ("/what?/x", {})),
    ],
)
def test_addresses_as_mlflow_takes_them(address, expected):
    assert server.for_mlflow(address) == expected


def test_what_the_environment_says_already_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://mine")
    seen = environment_of_what_is_served(tmp_path / "seen", {"MLFLOW_S3_ENDPOINT_URL": "http://storage"})
    assert seen["MLFLOW_S3_ENDPOINT_URL"] == "http://mine"


@pytest.mark.parametrize(
    "uri",
    ["http://0.0.0.0:5000", "https://127.0.0.1:5000", "http://127.0.0.1", "http://127.0.0.1:99999", "sqlite:///x"],
)
def test_only_this_machine_is_served(uri):
    with pytest.raises(SettingsError, match=r"expects http://127\.0\.0\.1:PORT"):
        server._port(uri)
