"""The process that writes to MLflow: the same outcome as in one's own, and no death of either end loses a thing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nasprune.errors import ArtifactError, SettingsError
from sweep.tracking import delivery
from sweep.tracking.delivery import RefusedError, StoreAwayError
from sweep.tracking.mlflow_client import default_uri
from sweep.tracking.outbox import Entry
from sweep.tracking.writer import Tracked
from sweep.tracking.writer_process import WriterProcess
from tests.sweep.example_points import write_point
from tests.sweep.processes import alive
from tests.sweep.tracking.tracked import Make, everything, whole_study


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(delivery, "_PAUSES", (0.05, 0.05))


def metrics(*steps: int) -> list[Entry]:
    bodies = [{"trial": "t000", "step": step, "metrics": {"loss": 1 / step}} for step in steps]
    return [Entry(number=n, kind="trial_metrics", time_ms=1000 + n, body=body) for n, body in enumerate(bodies)]


@pytest.fixture
def tracked(storage: Path) -> Tracked:
    folder = str(storage / "s" / "outbox")
    return Tracked(study="s", dataset="scenes", storage=str(storage), uri=None, params={"seed": "0"}, directory=folder)


def test_a_study_is_written_as_from_ones_own_process(make: Make, tmp_path: Path, capfd):
    point = write_point(tmp_path / "s")
    there = make(writer=WriterProcess)
    run_id = whole_study(there, tmp_path, point=point)
    pid = there._writer.pid
    client = MlflowClient(default_uri(tmp_path))
    before = everything(client)
    here = make()
    assert not alive(pid), "it ends with its tracker"
    assert whole_study(here, tmp_path, point=point) == run_id
    assert (here.run_id, here.run_ids) == (there.run_id, there.run_ids)
    assert here.browse_hint() == there.browse_hint()
    after = everything(client)
    for state in (before, after):
        for run in state["runs"].values():
            run.pop("end")
    assert after == before
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_what_is_wrong_is_told_as_by_ones_own_process(make: Make, tmp_path: Path):
    tracker = make(writer=WriterProcess)
    tracker.point("t000", tmp_path / "s" / "points" / "none", step=1, hypervolume=0.5)
    with pytest.raises(ArtifactError, match=r"expected a point's folder with point\.json"):
        tracker.wait(60)
    client = MlflowClient(default_uri(tmp_path))
    tracker.trial_metrics("t000", 1, {"loss": 0.5})
    assert tracker.wait(60), "what follows goes on"
    client.delete_run(tracker.run_ids["t000"])
    tracker.trial_metrics("t000", 2, {"loss": 0.5})
    with pytest.raises(RefusedError, match="expected a store that takes what is written"):
        tracker.wait(60)
    with pytest.raises(ArtifactError, match="study s is tracked with seed 0"):
        make(params={"seed": 1}, writer=WriterProcess)
    with pytest.raises(SettingsError, match="expected sqlite:///PATH or http"):
        make(study="other", uri="ftp://host", writer=WriterProcess)


def test_a_mistake_of_ours_comes_with_its_traceback(make: Make):
    tracker = make(writer=WriterProcess)
    tracker._delivery.say("trial_ended", {"trial": "t000", "state": "FINISHED"})
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*study_runs.*TypeError"):
        tracker.wait(60)


def test_one_that_was_killed_is_followed_by_another(make: Make, tmp_path: Path, caplog):
    tracker = make(writer=WriterProcess)
    killed: set[int] = set()
    for step in range(1, 201):
        tracker.trial_metrics(f"t{step % 4:03d}", step, {"loss": 1 / step})
        if step in (1, 100):
            while tracker._writer.pid in killed:  # the next one starts when something is to be told
                time.sleep(0.05)
            killed.add(tracker._writer.pid)
            os.kill(tracker._writer.pid, signal.SIGKILL)
    assert tracker.wait(60) or tracker.wait(60)
    assert tracker.undelivered == 0
    assert "the process that writes to MLflow died; the study goes on" in caplog.text
    runs = everything(MlflowClient(default_uri(tmp_path)))["runs"]
    assert len(runs) == 5
    told = [row[:2] for run in tracker.run_ids.values() for row in runs[run]["history"]["loss"]]
    assert sorted(told) == [(step, 1 / step) for step in range(1, 201)]


def test_one_whose_store_went_away_meanwhile_waits_for_it(tracked: Tracked):
    writer = WriterProcess(tracked)
    writer.deliver(metrics(1))
    known = dict(writer.trial_runs)
    store = Path(tracked.storage) / "mlflow" / "mlflow.db"
    os.kill(writer.pid, signal.SIGKILL)
    with pytest.raises(StoreAwayError, match="died"):
        writer.deliver(metrics(2))
    kept = store.read_bytes()
    store.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreAwayError, match="expected a SQLite file"):
        writer.deliver(metrics(2))
    store.write_bytes(kept)
    writer.deliver(metrics(2))
    assert writer.trial_runs == known
    writer.close()
    with pytest.raises(StoreAwayError):
        writer.deliver(metrics(3))


DRIVER = """
import sys, time
from pathlib import Path
from sweep.tracking.tracker import Tracker
storage = Path(sys.argv[1])
tracker = Tracker(study="s", dataset="scenes", storage=storage, outbox=storage / "s" / "outbox", params={"seed": 0})
print(tracker._writer.pid, flush=True)
for step in range(1, 10**6):
    tracker.trial_metrics("t000", step, {"loss": 1 / step})
"""


def test_it_dies_with_its_driver_in_the_middle_of_work(storage: Path, make: Make):
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(storage)], stdout=subprocess.PIPE, text=True)
    pid = int(driver.stdout.readline())
    time.sleep(1.0)
    assert alive(pid)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tracker = make()
    assert tracker.wait(60)
    (run,) = (r for r in everything(MlflowClient(default_uri(storage)))["runs"].values() if r["history"])
    steps = [step for step, *_ in run["history"]["loss"]]
    assert steps == list(range(1, len(steps) + 1))
