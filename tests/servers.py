"""Real servers to kill: MLflow, PostgreSQL, an S3 store; and a gate in front of one that makes it slow."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import boto3
import psycopg


def free_port() -> int:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int, seconds: float, address: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return True
        time.sleep(0.1)
    return False


class Server:
    """An MLflow server that may be killed, stopped and started again.

    Args:
        store: Its backend store, as a URI.
        artifacts: Where it keeps files.
        environment: More variables for it.
        address: Of this machine, to listen on.
    """

    def __init__(
        self,
        store: str,
        artifacts: str | Path,
        environment: Mapping[str, str] | None = None,
        *,
        address: str = "127.0.0.1",
    ) -> None:
        self.port, self.address = free_port(), address
        self.uri = f"http://{address}:{self.port}"
        self._arguments = {
            "backend-store-uri": store,
            "artifacts-destination": artifacts,
            "host": address,
            "port": self.port,
            "workers": 1,
        }
        if address != "127.0.0.1":
            self._arguments["allowed-hosts"] = f"{address}:{self.port}"
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
        if not answers(self.port, 120, self.address):
            self.kill()
            raise RuntimeError("the MLflow server did not start")

    def signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def postgres_programs() -> Path | None:
    """Where initdb and postgres are, if anywhere: Debian keeps them off the PATH."""
    on_path = shutil.which("postgres")
    places = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


class Postgres:
    """PostgreSQL on localhost with an empty database `mlflow`.

    Its programs refuse to run as root, so root runs them as the user that Debian makes for them.
    """

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError("PostgreSQL is not installed")
        self._programs = programs
        self._as: dict[str, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below a folder that only root may enter
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self.port = free_port()
        self.uri = f"postgresql://mlflow@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen | None = None
        subprocess.run(
            [programs / "initdb", "-D", self._folder / "data", "-A", "trust", "-U", "mlflow", "--no-sync"],
            check=True, capture_output=True, cwd=self._folder, **self._as,
        )  # fmt: skip

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self._folder}
        given = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *given],
                stdout=log, stderr=log, cwd=self._folder, start_new_session=True, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("SELECT 1")
            except psycopg.OperationalError:  # it listens before it has recovered
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                return

    def ask(self, query: str) -> list[tuple]:
        """The rows of a query."""
        with closing(psycopg.connect(self.uri)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def kill(self) -> None:
        """With kill -9, all of its processes."""
        if self._process is not None:
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=False
            ).stdout.split()
            for pid in (self._process.pid, *map(int, children)):  # each backend is a session of its own
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class Bucket:
    """An S3 store on localhost, moto's, in a process of its own, with one bucket."""

    def __init__(self, name: str = "bucket") -> None:
        self.port = free_port()
        self.uri = f"s3://{name}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if not answers(self.port, 60):
            self.kill()
            raise RuntimeError("moto's server did not start")
        self._client().create_bucket(Bucket=name)

    def names(self) -> set[str]:
        """Of all objects."""
        found = self._client().list_objects_v2(Bucket=self.uri.removeprefix("s3://"))
        return {item["Key"] for item in found.get("Contents", [])}

    def _client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.environment["MLFLOW_S3_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        )  # fmt: skip

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Gate(socketserver.ThreadingTCPServer):
    """Passes connections on to a port while it is open, each request later by a delay: a server that takes its time."""

    daemon_threads = True

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self.open = threading.Event()
        self.target, self.delay = port, delay
        super().__init__(("127.0.0.1", 0), _Pass)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Pass(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as behind:
            ends, answered = {self.request: behind, behind: self.request}, True
            while True:
                for ready in select.select(list(ends), [], [])[0]:
                    self.server.open.wait()
                    if ready is self.request and answered:
                        time.sleep(self.server.delay)
                    answered = ready is behind
                    with suppress(ConnectionResetError):
                        if content := ready.recv(65536):
                            ends[ready].sendall(content)
                            continue
                    return
