"""A tracking store that several test files start from."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sweep.tracking.mlflow_client import connect
from sweep.tracking.tracker import OUTBOX, Tracker
from sweep.tracking.writer import Writer
from tests.sweep.tracking.tracked import Make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A store with its tables: making them takes seconds, copying them none."""
    storage = tmp_path_factory.mktemp("empty")
    connect(None, storage)
    whole = storage / "whole.db"
    with closing(sqlite3.connect(storage / "mlflow" / "mlflow.db")) as database:
        database.execute(f"VACUUM INTO '{whole}'")  # the file alone lacks what is written ahead
    return whole


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Path:
    """A storage folder with an empty store."""
    store = tmp_path / "mlflow" / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes(empty_store.read_bytes())
    return tmp_path


@pytest.fixture
def make(storage: Path) -> Iterator[Make]:
    """Makes trackers of a study; a second one is a driver that was started again, when the first was gone.

    They write from this process, where tests can reach into MLflow's client.
    """
    made: dict[str, Tracker] = {}

    def build(*, study: str = "s", **settings) -> Tracker:
        if study in made:
            made[study].close()
        outbox = storage / study / OUTBOX
        settings = {
            "dataset": "scenes",
            "storage": storage,
            "outbox": outbox,
            "params": {"seed": 0},
            "writer": Writer,
            **settings,
        }
        made[study] = Tracker(study=study, **settings)
        return made[study]

    yield build
    for tracker in made.values():
        tracker.close()
