"""The Ray cluster a study runs on: joined where there is one, else started on this machine."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sweep.settings import StudySettings

_QUIET = {
    # Ray would otherwise start every worker through `uv run`, each with an environment of its own.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # The sweep shows its own table.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True, kw_only=True)
class Places:
    """What trials get, and how many run at once.

    Attributes:
        trial: Resources of one trial, by Ray's names.
        at_once: How many fit the cluster as it is.
        dense: Resources of the dense network's training: a GPU, or all CPUs of a node.
    """

    trial: dict[str, float]
    at_once: int
    dense: dict[str, float]


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Join or start Ray, and leave it again.

    A cluster is joined if RAY_ADDRESS names one or one was started on this machine with `ray start`. A cluster
    of our own listens on the loopback address only.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if not ray.is_initialized():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of Ray about its own defaults
            ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def find_places(settings: StudySettings) -> Places:
    """Fit a study's trials into the joined cluster.

    Raises:
        SettingsError: if not even one trial fits.
    """
    import ray

    has = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = has.get("CPU", 0.0), has.get("GPU", 0.0)
    wanted = settings.gpus_per_trial
    if settings.device == "cpu":
        wanted = 0.0
    elif wanted is None:
        wanted = 1.0 if gpus else 0.0
    if settings.device == "cuda" and not gpus:
        raise SettingsError("device cuda given, but the cluster has no GPU; use --device cpu or add a GPU node")
    at_once = int(cpus // settings.cpus_per_trial)
    if wanted:
        at_once = min(at_once, int(gpus / wanted + 1e-9))
    if at_once < 1:
        raise SettingsError(
            f"{settings.cpus_per_trial} CPUs and {wanted:g} GPUs a trial given, but the cluster has {cpus:g} CPUs and "
            f"{gpus:g} GPUs; lower --cpus-per-trial or --gpus-per-trial, or add nodes"
        )
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    widest = max(node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"])
    trial = {"CPU": float(settings.cpus_per_trial)}
    dense = {"CPU": max(1.0, widest)}
    if wanted:
        trial["GPU"] = wanted
        dense = {"CPU": float(settings.cpus_per_trial), "GPU": 1.0}
    return Places(trial=trial, at_once=at_once, dense=dense)
