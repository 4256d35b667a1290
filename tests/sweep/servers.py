"""A real MLflow server to kill, and a gate in front of it that makes it slow."""

from __future__ import annotations

import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest


def free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int, seconds: float) -> bool:
    """Whether somebody takes connections within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


class Server:
    """An MLflow server that may be killed, stopped and started again.

    Args:
        store: Its backend store, as a URI.
        artifacts: Where it keeps files.
        environment: More variables for it.
    """

    def __init__(self, store: str, artifacts: str | Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._arguments = {
            "backend-store-uri": store,
            "artifacts-destination": artifacts,
            "host": "127.0.0.1",
            "port": self.port,
            "workers": 1,
        }
        self._environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})}
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *(f"--{key}={value}" for key, value in self._arguments.items())],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if not answers(self.port, 120):
            self.kill()
            pytest.fail("the MLflow server did not start")

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Gate(socketserver.ThreadingTCPServer):
    """Passes connections on to a port, each only once the gate is open: a server that takes its time."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.open = threading.Event()
        self.target = port
        super().__init__(("127.0.0.1", 0), _Pass)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Pass(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as behind:
            ends = {self.request: behind, behind: self.request}
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    self.server.open.wait()
                    if not (content := ready.recv(65536)):
                        return
                    ends[ready].sendall(content)
