"""Whole studies, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.system import own

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "2",
    "--tune-epochs", "1", "--growth", "0", "--budgets", "0.2,0.5", "--trials", "2", "--board", "none",
)  # fmt: skip
OWN = ("--network", own.NAME, "--study", "own")
STUDY = "scenes-resnet10"


def sweep(storage: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "sweep" / "run.py", *SMALL, "--storage", storage, *more],
        capture_output=True, text=True, cwd=storage, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def runs(storage: Path):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("scenes")
    return client, client.search_runs([experiment.experiment_id])


def front_of(storage: Path, study: str = STUDY):
    return json.loads((storage / study / "front.json").read_text())
