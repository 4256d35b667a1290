"""`python -m sweep.cluster.server`: the MLflow server of a cluster's head, for as long as Ray runs there.

The launcher stops Ray and nothing else, so this goes when Ray goes. A server that dies is started again; where one
runs already, a second call does nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from filelock import FileLock, Timeout

from nasprune.commandline import OneLineParser
from nasprune.errors import SettingsError
from nasprune.files import reason
from sweep.cluster.launched import answers, cluster_address
from sweep.commandline import command
from sweep.environment import STORAGE, TRACKING_URI
from sweep.storage.address import is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

_LOOK = 1.0
"""Seconds between two looks at Ray and the server."""
_GONE = 10.0
"""Seconds without an answer after which Ray counts as stopped: a restart of Ray takes less."""
_BEGIN = 180.0
"""Seconds that Ray, or an earlier server that is about to end, is waited for; beside other work both may take long."""


def main(arguments: Sequence[str]) -> int:
    """Return once a server answers; with `--foreground`, once Ray is gone.

    Raises:
        SettingsError: if a flag's value cannot be used.
    """
    given = _parse(arguments)
    port = _port(given.uri)
    if {"?", "%"} & set(str(given.database.absolute())):  # escaped in a URI, MLflow takes them for two names
        raise SettingsError(
            f"database {given.database} given; expected a path without '?' and '%', of which MLflow makes another one"
        )
    try:
        given.database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"database {given.database} given; expected a file in a folder that can be made ({reason(error)})"
        ) from error
    if not given.foreground:
        return _detach(arguments, port, given.database.with_suffix(".log"))
    lock = FileLock(given.database.with_suffix(".lock"), timeout=_BEGIN)
    try:
        with lock:
            address = _wait_for_ray()
            serve(_mlflow(given.database, given.artifacts, port), lambda: answers(address), given.environment)
    except Timeout:
        sys.stderr.write("an MLflow server runs here already\n")
    return 0


def _detach(arguments: Sequence[str], port: int, log: Path) -> int:
    """Serve in a process of its own, which outlives the login that began it; back once it answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweep.cluster.server", "--foreground", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 2 * _BEGIN
    while not answers(("127.0.0.1", port)):
        if process.poll() or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise SettingsError(f"no MLflow server at 127.0.0.1:{port}; its log {log} ends with: {' '.join(last)}")
        time.sleep(_LOOK / 4)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="python -m sweep.cluster.server", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--uri", default=os.environ.get(TRACKING_URI, "http://127.0.0.1:5000"), help=f"default: {TRACKING_URI}"
    )
    parser.add_argument(
        "--database",
        type=Path,
        default=Path.home() / "nasprune" / "mlflow.db",
        metavar="FILE",
        help="SQLite file of runs and metrics (default: ~/nasprune/mlflow.db)",
    )
    parser.add_argument(
        "--artifacts", metavar="URI", help=f"folder or bucket of pictures and models (default: under {STORAGE})"
    )
    parser.add_argument("--foreground", action="store_true", help="serve in this process until Ray is gone")
    given = parser.parse_args(arguments)
    address = given.artifacts
    if not address:
        storage = os.environ.get(STORAGE)
        if not storage:
            raise SettingsError(f"neither --artifacts nor {STORAGE} given; expected where pictures and models are kept")
        base, mark, options = storage.partition("?")
        address = f"{base.rstrip('/')}/mlflow/artifacts{mark}{options}"
    given.artifacts, given.environment = for_mlflow(address)
    return given


def for_mlflow(address: str) -> tuple[str, dict[str, str]]:
    """An address as MLflow takes it, which knows no options there, and the variables that tell it of those of S3.

    Args:
        address: A folder, or an address as pyarrow takes it.
    """
    if not is_address(address):
        return address, {}
    base, _, query = address.partition("?")
    options = dict(parse_qsl(query)) if base.startswith("s3:") else {}
    variables = {}
    if "endpoint_override" in options:
        variables["MLFLOW_S3_ENDPOINT_URL"] = f"{options.get('scheme', 'https')}://{options['endpoint_override']}"
    if "region" in options:
        variables["AWS_DEFAULT_REGION"] = options["region"]
    return base, variables


def _port(uri: str) -> int:
    """The port of a URI of this machine's loopback address."""
    try:
        parts = urlsplit(uri)
        port = parts.port if parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost") else None
    except ValueError:  # a port that is none
        port = None
    if not port:
        raise SettingsError(f"tracking URI '{uri}' given; the head's own server expects http://127.0.0.1:PORT")
    return port


def _mlflow(database: Path, artifacts: str, port: int) -> list[str]:
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database.absolute()}",
        "--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def serve(words: Sequence[str], alive: Callable[[], bool], variables: Mapping[str, str]) -> None:
    """Keep a program running until nothing has been alive for a while, or this one is told to stop; then end it.

    Args:
        words: The program.
        alive: Whether what it is for is there.
        variables: For its environment; one that is set already stays as it is.
    """
    always = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = {**variables, **os.environ, **always}
    seen = time.monotonic()
    with _until_told() as told:
        while not told():
            server = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                while server.poll() is None and not told():
                    time.sleep(_LOOK)
                    if alive():
                        seen = time.monotonic()
                    elif time.monotonic() - seen > _GONE:
                        return
            finally:
                _end(server)
            time.sleep(_LOOK)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)


@contextmanager
def _until_told() -> Iterator[Callable[[], bool]]:
    """Gives what says whether this process was asked to end."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_ray() -> tuple[str, int]:
    """The address of the cluster of this machine, once it answers."""
    deadline = time.monotonic() + _BEGIN
    while time.monotonic() < deadline:
        address = cluster_address()
        if address is not None and answers(address):
            return address
        time.sleep(_LOOK)
    raise SettingsError("no Ray cluster answers on this machine; start one first, with ray up or ray start")


if __name__ == "__main__":
    command(main)
