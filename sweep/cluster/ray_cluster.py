"""The Ray cluster a study runs on: joined where there is one, else started on this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nasprune.errors import NaspruneError, SettingsError, first_line
from sweep.cluster.launched import answers, being_set_up, cluster_address, cluster_to_join, nodes_to_come, temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from sweep.settings import StudySettings

DEATHS = 8
"""How often a process may die in a session, with its host or alone, before its trial or task counts as failed."""

_LOOK = 10.0
"""Seconds between two looks for nodes that have joined."""

_QUIET = {
    # Ray would otherwise start every worker through `uv run`, each with an environment of its own.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The sweep shows its own table.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Tune's own files have no reader here: results of every trial, and its state, which grows with all trials.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # Nothing is sent anywhere unless asked.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# Ray on one machine talks over the loopback address where clusters are off: the platforms' switch for it.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def prepare_environment() -> None:
    """Set what Ray and MLflow read when they are first imported; call it before either is.

    A variable that is set already stays as it is, but for blanks around RAY_ADDRESS. A cluster is joined if that names
    one or `ray start` began one on this machine; otherwise Ray is kept to the loopback address, since its ports run any
    code.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "RAY_ADDRESS" in os.environ:  # Ray would look for a port with a blank in it for minutes
        os.environ["RAY_ADDRESS"] = os.environ["RAY_ADDRESS"].strip()
    if not cluster_to_join():
        os.environ.setdefault(_LOOPBACK, "0")


@dataclass(frozen=True, kw_only=True)
class Places:
    """What trials get, and how many run at once.

    Attributes:
        trial: Resources of one trial, by Ray's names.
        at_once: How many fit the cluster, when it has grown as far as it may.
        dense: Resources of the dense network's training: a GPU, or all CPUs of a node.
        device: Where they work: "cpu" where no GPU is booked, although one may be seen.
    """

    trial: dict[str, float]
    at_once: int
    dense: dict[str, float]
    device: str


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Join or start Ray, and leave it again; within, SIGTERM and SIGHUP are what Ctrl-C is.

    See `prepare_environment`, which must have been called.

    Raises:
        SettingsError: if there should be a cluster to join, and it cannot be, or Ray cannot start here.
    """
    import ray

    if not ray.is_initialized():
        joins = cluster_to_join()
        if joins:
            _check_answers()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of Ray about its own defaults
            try:
                ray.init(
                    address=None if joins else "local",
                    include_dashboard=None if joins else False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            except Exception as error:  # of its own, Ray raises whatever it meets, also a bare one
                if not joins:
                    raise SettingsError(
                        f"Ray cannot start on this machine with its files in {temporary() / 'ray'} "
                        f"({first_line(error)}); {_mend(error)}"
                    ) from error
                if isinstance(error, ConnectionError | RuntimeError | ray.exceptions.AuthenticationError):
                    raise _unanswered(first_line(error)) from error
                raise
    try:
        with ended_as_by_ctrl_c():
            yield
    finally:
        ray.shutdown()


def _mend(error: Exception) -> str:
    """What to do where Ray of one's own cannot start."""
    if "timed out" in str(error):
        return "it is too busy, or short of memory: end what else runs there, and give the same command again"
    path = str(error.filename) if isinstance(error, OSError) else ""
    if path.startswith(str(Path.home())) and not path.startswith(str(temporary())):
        return "set HOME to a folder that can be written, since Ray keeps a token there"
    return "set RAY_TMPDIR to the whole path of a folder that can be written, of at most 40 characters"


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM, by which Slurm, systemd, Docker and `ray job stop` end a process, does what Ctrl-C does.

    So does SIGHUP, of a terminal that is closed, but where it is ignored, as under nohup. Ray's own handler, outside of
    Python, would end it at once, with a stack trace. It is set when Ray starts, so this comes after.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return

    def interrupt(_: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)  # Tune's while trials run
        if not callable(handler):  # a shell's background ignores Ctrl-C
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def ctrl_c_lent() -> Iterator[None]:
    """Ctrl-C does afterwards what it did before: Tune takes it while trials run, and does not give it back."""
    if threading.current_thread() is not threading.main_thread():  # as above
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _check_answers() -> None:
    """Ray itself would ask for minutes."""
    address = cluster_address()
    if address is None and os.environ.get("RAY_ADDRESS") == "auto":
        raise _unanswered("none runs on this machine")
    if address is not None and not answers(address):
        raise _unanswered(f"nothing listens at {address[0]}:{address[1]}")


def _unanswered(reason: str) -> SettingsError:
    return SettingsError(
        f"RAY_ADDRESS '{os.environ.get('RAY_ADDRESS', '')}' given; expected a Ray cluster that answers this machine "
        f"({reason}); start it with ray up, or unset RAY_ADDRESS"
    )


def count_nodes() -> int:
    """How many nodes the joined cluster has now."""
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())  # type: ignore[no-untyped-call]


def count_installing() -> int:
    """How many nodes the launcher is setting up now."""
    from ray.experimental.internal_kv import _internal_kv_get

    return being_set_up(_internal_kv_get("__autoscaling_status"))


def find_places(settings: StudySettings) -> Places:
    """Fit a study's trials into the joined cluster.

    Raises:
        SettingsError: if not even one trial fits.
    """
    nodes = _nodes()
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    wanted = settings.gpus_per_trial
    if settings.device == "cpu":
        wanted = 0.0
    elif wanted is None:
        wanted = 1.0 if gpus else 0.0
    if settings.device == "cuda" and not gpus:
        raise SettingsError("device cuda given, but the cluster has no GPU; use --device cpu or add a GPU node")
    trial = {"CPU": float(settings.cpus_per_trial)} | ({"GPU": wanted} if wanted else {})
    at_once = sum(_fits(node, trial) for node in nodes)
    if at_once < 1:
        raise SettingsError(
            f"{settings.cpus_per_trial} CPUs and {wanted:g} GPUs a trial given, but no node of the cluster has them "
            f"({cpus:g} CPUs and {gpus:g} GPUs in all); lower --cpus-per-trial or --gpus-per-trial, or add nodes"
        )
    widest = max(node.get("CPU", 0.0) for node in nodes)
    dense = {"CPU": trial["CPU"], "GPU": 1.0} if wanted else {"CPU": max(1.0, widest)}
    return Places(trial=trial, at_once=at_once, dense=dense, device=settings.device if wanted else "cpu")


class Growth:
    """Trials run on nodes, too, that join while a study runs, as of machines one owns that were off when it began.

    Args:
        places: As found when it began.
        allow: Takes how many trials may run at once, whenever these are more than before.
        clock: Seconds that never go back.
    """

    def __init__(
        self, places: Places, allow: Callable[[int], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._places = places
        self._at_once = places.at_once
        self._allow = allow
        self._clock = clock
        self._next = clock() + _LOOK

    def look(self) -> None:
        """Look at the nodes, if that was not done lately: to be called often."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + _LOOK
        at_once = sum(_fits(node, self._places.trial) for node in _nodes())
        if at_once > self._at_once:  # fewer need nothing: Ray starts none where there is no room
            self._at_once = at_once
            self._allow(at_once)


def _nodes() -> list[Mapping[str, float]]:
    """The resources of every node that is there or may yet come."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [*nodes, *nodes_to_come(nodes)]


def _fits(node: Mapping[str, float], trial: Mapping[str, float]) -> int:
    """Trials that fit one node."""
    return min(int(node.get(kind, 0.0) / amount + 1e-9) for kind, amount in trial.items())


def as_ours(error: Exception, what: str) -> NaspruneError:
    """The error of ours behind one of Ray's, or one that says in a line what happened."""
    original = getattr(error, "cause", error)
    if isinstance(original, NaspruneError):
        return original
    lines = str(error).strip().splitlines()
    return NaspruneError(f"{what}: {lines[-1] if lines else type(error).__name__}")
