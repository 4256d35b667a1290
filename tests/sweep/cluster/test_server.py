"""The MLflow server's keeper: it lives as long as what it serves, and so does what it keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from nasprune.errors import SettingsError
from sweep.cluster import server

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
    server.serve([sys.executable, "-c", SLEEPER, str(path)], lambda: not begun(path))
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

    server.serve([sys.executable, "-c", SLEEPER, str(path)], alive)
    assert len(begun(path)) == 2
    assert not any(running(number) for number in begun(path))


def test_told_to_end(tmp_path):
    path = tmp_path / "begun"
    words = [sys.executable, "-c", SLEEPER, str(path)]
    code = f"from sweep.cluster import server; server._LOOK = 0.05; server.serve({words!r}, lambda: True)"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not begun(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not running(begun(path)[0])


def test_artifacts_go_to_the_storage(monkeypatch):
    monkeypatch.setenv("NASPRUNE_STORAGE", "s3://bucket/studies?region=eu")
    assert server._parse([]).artifacts == "s3://bucket/studies/mlflow/artifacts"
    monkeypatch.delenv("NASPRUNE_STORAGE")
    with pytest.raises(SettingsError, match="neither --artifacts nor NASPRUNE_STORAGE"):
        server._parse([])


@pytest.mark.parametrize(
    "uri",
    ["http://0.0.0.0:5000", "https://127.0.0.1:5000", "http://127.0.0.1", "http://127.0.0.1:99999", "sqlite:///x"],
)
def test_only_this_machine_is_served(uri):
    with pytest.raises(SettingsError, match=r"expects http://127\.0\.0\.1:PORT"):
        server._port(uri)
