"""A checked connection to MLflow: found to answer before any training, quiet, and silent about secrets."""

import logging
import os
import re
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.exc import SQLAlchemyError

from nasprune.errors import SettingsError
from nasprune.files import locked

_PROBE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "8"}
_CALL = {
    # MLflow would send a request again that the server may have taken, and so double a run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # Lines about runs would stand between those of the sweep's own report.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CHATTY = (
    "mlflow.store.db.utils",  # tells of every table it makes
    "alembic.runtime.migration",
    "mlflow.utils.environment",  # warns wherever pip is not installed, as under uv
    "mlflow.store.model_registry.abstract_store",  # tells that it waits for a version that a server has made already
)


_PASSING = re.compile(
    r"Connect|Timeout|Timed ?out|EndpointConnection|Transport|SlowDown|InternalError|Unavailable|HTTPClientError"
)
"""In the name or text of a library's error: what may be over in a while."""


class FilingError(OSError):
    """Files cannot be moved to where a store keeps them.

    Args:
        text: Why not.
        away: Whether that may be over in a while.
    """

    def __init__(self, text: str, *, away: bool) -> None:
        super().__init__(text)
        self.away = away


class _Client(MlflowClient):
    """Raises OSError for files that cannot be moved, whichever library moves them.

    Where a server leaves the moving of files to its clients, MLflow calls boto3, Google's, Azure's, or others, and
    lets through what they raise, which has no type in common.
    """

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        with _filing():
            super().log_artifact(run_id, local_path, artifact_path)

    def log_dict(self, run_id: str, dictionary: dict[str, Any], artifact_file: str) -> None:
        with _filing():
            super().log_dict(run_id, dictionary, artifact_file)

    def log_model_artifacts(self, model_id: str, local_dir: str, artifact_path: str | None = None) -> None:
        with _filing():
            super().log_model_artifacts(model_id, local_dir, artifact_path)


@contextmanager
def _filing() -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError):
        raise
    except ImportError as problem:
        package = (problem.name or "").split(".")[0]
        raise FilingError(f"it keeps files where the package {package} is needed: install it", away=False) from None
    except Exception as problem:
        if type(problem).__module__ == "builtins":  # a mistake of ours
            raise
        text = f"{type(problem).__name__}: {problem}"
        raise FilingError(text, away=_PASSING.search(text) is not None) from None


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An MLflow store that has answered."""

    client: MlflowClient
    uri: str
    """As MLflow takes it. May hold a password: for programs, never for people."""
    shown: str
    """The same without user and password, for messages."""
    artifacts: str | None
    """Where a new experiment keeps its files; None leaves that to the server."""

    @property
    def local(self) -> bool:
        """Whether this is a file of this machine rather than a server."""
        return self.artifacts is not None

    def check_files(self, experiment: str, model: str | None = None) -> None:
        """Make sure that a store of this machine finds the files that it keeps, and keeps new ones beside itself.

        It names them by whole paths. Once the storage was moved none is found: what is loaded then fails, and what is
        written goes to the old place. A copy of a storage names the files of the one that it was copied from, and
        would write over them.

        Args:
            experiment: Location of an experiment's files, as the store has it.
            model: Of those of a model in it.

        Raises:
            SettingsError: If they are gone, although the store is there, or are another storage's.
        """
        if self.artifacts is None or not experiment.startswith("file:"):
            return
        here, kept = _folder(self.artifacts), _folder(experiment)
        path = _folder(model) if model is not None else kept
        if not here.exists():
            return
        if not path.exists():
            raise SettingsError(
                f"{self.shown} was given for tracking, whose files were in {path}, where there is nothing now; MLflow "
                "names files by whole paths: move the storage back to where it was, or make a link to it there"
            )
        if kept.name == here.name and kept.exists() and not kept.samefile(here):
            raise SettingsError(
                f"{self.shown} was given for tracking, a copy of a store that keeps its files in {kept}; MLflow names "
                "files by whole paths, so that they would be written over: give the storage that was copied, or "
                "another --tracking-uri"
            )

    def fetch(self, location: str, folder: Path) -> Path:
        """One of the files that the store keeps, brought into a folder of this machine.

        Raises:
            MlflowException: If it is not there, or cannot be had; so may an OSError say.
        """
        with quiet(), _filing():
            return Path(download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=self.uri))

    def refused(self, problem: Exception) -> SettingsError:
        """To be raised unchained: the problem's own text may hold the URI as given, with its password."""
        return SettingsError(
            f"{self.shown} was given for tracking; expected a store that takes what is written "
            f"({reason(problem)}); mend its rights, or give another"
        )


def _folder(location: str) -> Path:
    """The folder of a file: location."""
    return Path(url2pathname(urlsplit(location).path))


def default_uri(storage: Path) -> str:
    """The tracking URI of a storage folder's own SQLite store."""
    return f"sqlite:///{_default_path(storage)}"


def _default_path(storage: Path) -> Path:
    return storage.absolute() / "mlflow" / "mlflow.db"


def connect(uri: str | None, storage: Path) -> Connection:
    """Opens the store at `uri`, or the storage's own, and asks it something, within about 10 s.

    A SQLite store is made if missing. It is put into write-ahead mode, in which people browse while the
    driver writes; like all SQLite files it is for one machine at a time.

    Raises:
        SettingsError: If the URI is of another kind, or nothing that is MLflow answers there, or the storage has a
            name that no URI of MLflow's can hold.
    """
    if not uri:
        return _open_sqlite(_default_path(storage), default_uri(storage))
    shown = redacted(uri)
    scheme = uri.split(":", 1)[0].lower()
    if scheme == "sqlite":
        return _open_sqlite(_path_of(uri, shown), shown)
    if scheme in ("http", "https"):
        return _probe_server(uri.rstrip("/"), shown.rstrip("/"))
    raise SettingsError(
        f"tracking URI '{shown}' given; expected sqlite:///PATH or http(s)://HOST:PORT; "
        "give one of these, or none for the storage's own"
    )


def redacted(text: str) -> str:
    """`text` with the user and password of every URL in it taken out."""
    return re.sub(r"//[^/\s]*@", "//", text)


class _Shared:
    """What the whole process shares while any of its threads is inside."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.state = ExitStack()


_shared = _Shared()


@contextmanager
def quiet() -> Iterator[None]:
    """Calls to MLflow inside print nothing, send each request once, and wait a minute at most.

    Threads may be inside at the same time: the first one in changes the process's environment, the last one out
    puts it back.
    """
    with _shared.lock:
        if not _shared.inside:
            _shared.state.enter_context(_environment(_CALL))
            _shared.state.enter_context(_no_chatter())
        _shared.inside += 1
    try:
        yield
    finally:
        with _shared.lock:
            _shared.inside -= 1
            if not _shared.inside:
                _shared.state.close()


def unreachable(problem: Exception) -> bool:
    """Whether a call failed because the store is away or busy for now, rather than refused it."""
    if isinstance(problem, FilingError):
        return problem.away
    if isinstance(problem, requests.HTTPError) and problem.response is not None:
        return int(problem.response.status_code) >= 500  # its own fault, not ours
    if isinstance(problem, requests.RequestException):
        return True
    if isinstance(problem, MlflowException):
        if problem.error_code == "TEMPORARILY_UNAVAILABLE":
            return True
        if isinstance(problem, RestException) and problem.error_code == "INTERNAL_ERROR":
            return True  # the server's own fault, not ours; the client's exceptions have this code, too
        # A connection that failed has no code of its own, only this message.
        return not isinstance(problem, RestException) and problem.message.startswith("API request to")
    return False


def _path_of(uri: str, shown: str) -> Path:
    """The file of a SQLite store."""
    try:
        name = sqlalchemy.make_url(uri).database
    except SQLAlchemyError:
        name = None
    if not name or name == ":memory:":
        raise SettingsError(f"tracking URI '{shown}' given; expected a file, as sqlite:///runs/mlflow/mlflow.db")
    return Path(name).absolute()


def _open_sqlite(path: Path, shown: str) -> Connection:
    if {"?", "%"} & set(str(path)):  # escaped in a URI, MLflow takes them for two names
        raise SettingsError(
            f"{path} given for tracking; expected a path without '?' and '%', of which MLflow makes another one; "
            "rename the folder, or give another --tracking-uri"
        )
    uri = f"sqlite:///{path}"
    try:
        # The lock: two studies that start together must not both create the tables.
        with locked(path), quiet():
            with closing(sqlite3.connect(path, timeout=30)) as database:
                database.execute("PRAGMA journal_mode=WAL")
            client = _Client(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except (OSError, sqlite3.Error, SQLAlchemyError, MlflowException) as problem:
        raise SettingsError(
            f"tracking URI '{shown}' given; expected a SQLite file of MLflow that can be read and written "
            f"({reason(problem)}); give another, or upgrade an old one with: mlflow db upgrade {shown}"
        ) from problem
    return Connection(client=client, uri=uri, shown=uri, artifacts=(path.parent / "artifacts").as_uri())


def _probe_server(uri: str, shown: str) -> Connection:
    try:
        host = urlsplit(uri).hostname
    except ValueError:  # brackets that are left open
        host = None
    if not host:
        raise SettingsError(f"tracking URI '{shown}' given; expected http(s)://HOST:PORT; add the host")
    client = _Client(tracking_uri=uri, registry_uri=uri)
    try:
        with _environment(_PROBE), _no_chatter():
            client.search_experiments(max_results=1)
    except (MlflowException, requests.RequestException) as problem:
        # Not chained: the cause's text holds the URI as given, with its password.
        raise SettingsError(
            f"tracking URI '{shown}' given; expected an MLflow server that answers ({reason(problem)}); "
            "start it, mend the address or its MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or leave the URI out for the storage's own"
        ) from None
    return Connection(client=client, uri=uri, shown=shown, artifacts=None)


def reason(problem: Exception) -> str:
    """One short line of a third party's message, without secrets."""
    text = " ".join(redacted(str(problem)).split())
    for sign, short in (
        ("timed out", "no answer in time"),
        ("timeout", "no answer in time"),
        ("resolve", "unknown host"),
        ("Connection refused", "connection refused"),
    ):
        if sign in text:
            return short
    return text[:160]


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _no_chatter() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    # These two stay: threads share the list of filters, and putting back an older one would undo another's.
    # MLflow's tables use a loader that SQLAlchemy 2.1 gives up; nothing its users can mend.
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy", category=DeprecationWarning)
    # Raised while MLflow imports its own modules for language models.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", category=UserWarning)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
