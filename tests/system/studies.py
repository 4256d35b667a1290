"""Whole studies, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sweep.storage.bucket import MIRRORS
from tests.buckets import KEYS
from tests.system import own

ROOT = Path(__file__).resolve().parents[2]
STUDY = "own"
SMALL = (
    "--network", own.NAME, "--study", STUDY,
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "2",
    "--tune-epochs", "1", "--growth", "0", "--budgets", "0.2,0.5", "--trials", "2", "--board", "none",
)  # fmt: skip
# A claim of a dead driver runs out sooner, so that a test need not wait for it.
_HASTY = """
from sweep.storage import claim
claim.BEAT, claim.LIFE = 0.5, 3.0
from sweep.commandline import command
from sweep.run import main
command(main)
"""


def start(storage: Path, *more: str, **how: Any) -> subprocess.Popen[str]:
    """A study that goes on beside the test, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, ROOT / "sweep" / "run.py", *SMALL, "--storage", storage, *more], env=_found(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **how,
    )  # fmt: skip


def sweep(storage: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return command("run.py", *SMALL, "--storage", storage, *more, cwd=storage)


def promote(storage: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return command("promote.py", "--storage", storage, *more)


def command(name: str, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One of the project's own, with the network's code on the path."""
    return subprocess.run(
        [sys.executable, ROOT / "sweep" / name, *words], capture_output=True, text=True, cwd=cwd, check=False,
        env=_found(),
    )  # fmt: skip


def _found(**more: str) -> dict[str, str]:
    """An environment where the network is found, on a machine that Ray takes for one of a single core.

    Trials one after the other share a process, and importing all that they need is most of their work here.
    """
    return {"RAY_OVERRIDE_RESOURCES": '{"CPU": 1}', **os.environ, "PYTHONPATH": str(ROOT), **more}


def start_in_bucket(address: str, mirror: Path, *more: str) -> subprocess.Popen[str]:
    """A study with a bucket as storage, on a machine that keeps its copy in `mirror`."""
    return subprocess.Popen(
        [sys.executable, "-c", _HASTY, *SMALL, "--storage", address, *more],
        env=_found(**KEYS, **{MIRRORS: str(mirror)}), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def sweep_in_bucket(address: str, mirror: Path, *more: str) -> str:
    """What it said."""
    process = start_in_bucket(address, mirror, *more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def runs(storage: Path):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("scenes")
    return client, client.search_runs([experiment.experiment_id])


def front_of(storage: Path, study: str = STUDY):
    return json.loads((storage / study / "front.json").read_text())
