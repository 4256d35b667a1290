"""Whole studies with real parts: Ray, Optuna, MLflow, a fresh environment; small enough for a minute."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest

from sweep.storage.bucket import MIRRORS, Bucket
from tests.buckets import KEYS, s3_server
from tests.system.studies import STUDY, front_of, promote, runs, start, start_in_bucket, sweep, sweep_in_bucket

DESCENDED = ["t000-20pct", "t000-50pct", "t001-20pct", "t001-50pct"]

pytestmark = [
    pytest.mark.system,
    # MLflow's client warns of its own loaders and of the interpreter's age; nothing its users can mend.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage")
    done = sweep(folder, "--board", "front")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "output.txt").write_text(done.stdout)
    return folder


def test_study_leaves_a_front(storage):
    front = front_of(storage)
    assert set(front["dense"]) >= {"macs", "params", "val_accuracy", "test_accuracy"}
    assert sorted(point["point"] for point in front["points"]) == DESCENDED
    for point in front["points"]:
        assert set(point) >= {
            "point", "trial", "network", "dataset", "budget", "macs", "macs_ratio", "params", "val_accuracy",
            "test_accuracy", "widths", "artifact", "run_id", "on_front",
        }  # fmt: skip
        assert 0 < point["macs_ratio"] <= point["budget"]
        assert point["macs"] == round(point["macs_ratio"] * front["dense"]["macs"])
        assert 0 <= point["val_accuracy"] <= 1
        assert (storage / STUDY / point["artifact"] / "model.onnx").is_file()
    assert any(point["on_front"] for point in front["points"])
    assert (storage / STUDY / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (storage / STUDY / "front.html").stat().st_size > 1e6  # it carries plotly
    assert len(list((storage / "shared" / "answers").glob("*.safetensors"))) == 1  # trials share them
    assert not list((storage / "shared").glob("*/*.checkpoints"))
    # No pickle of ours or of Ray's stays behind.
    assert not [p for p in storage.rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".pth")]


def test_points_of_the_front_have_files_for_the_board(storage):
    front = front_of(storage)
    client, tracked = runs(storage)
    models = {
        model.tags["nasprune.point"]: {metric.key: metric.value for metric in model.metrics}
        for model in client.search_logged_models([tracked[0].info.experiment_id])
    }
    for point in [front["dense"], *front["points"]]:
        measured = {key: value for key, value in point.items() if key.startswith(("float32_", "int8_"))}
        assert bool(measured) == point.get("on_front", True)
        if "point" in point:
            files = {path.name for path in (storage / STUDY / point["artifact"]).glob("board*")}
            assert files == ({"board.onnx", "board_int8.onnx", "board.json"} if measured else set())
            assert measured.items() <= models[point["point"]].items()
            assert not any("latency" in key for key in models[point["point"]]) or measured
            logged = {file.path for file in client.list_artifacts(point["run_id"], f"points/{point['point']}")}
            assert (f"points/{point['point']}/board_int8.onnx" in logged) == bool(measured)


def test_study_is_tracked(storage):
    client, tracked = runs(storage)
    kinds = [run.data.tags["nasprune.kind"] for run in tracked]
    assert sorted(kinds) == ["study", "trial", "trial"]
    assert {run.info.status for run in tracked} == {"FINISHED"}
    by_id = {run.info.run_id: run for run in tracked}
    for point in front_of(storage)["points"]:
        history = client.get_metric_history(point["run_id"], "val_accuracy")
        assert len(history) == 2  # a descent shows as a curve
        assert point["val_accuracy"] in [metric.value for metric in history]
        assert 0 < by_id[point["run_id"]].data.metrics["hypervolume"] < 1
    models = client.search_logged_models([tracked[0].info.experiment_id])
    assert sorted(model.tags["nasprune.point"] for model in models) == DESCENDED


def test_studies_of_one_name_in_two_storages_stay_apart_on_a_server(storage, tmp_path):
    from sweep.storage.folder import tracked_name

    (tmp_path / STUDY).mkdir()
    assert tracked_name(tmp_path / STUDY) != tracked_name(storage / STUDY)
    _, tracked = runs(storage)
    assert {run.data.tags["nasprune.study"] for run in tracked} == {tracked_name(storage / STUDY)}


def test_terminal_tells_what_to_do_next(storage):
    output = (storage / "output.txt").read_text()
    assert "mlflow ui --backend-store-uri" in output
    assert f"promote: uv run sweep/promote.py --study {STUDY}" in output
    assert "Traceback" not in output


def test_running_again_does_nothing_twice(storage):
    before = {p: p.stat().st_mtime_ns for p in (storage / STUDY / "points").rglob("*")}
    done = sweep(storage)
    assert done.returncode == 0, done.stderr
    assert "asked about" not in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (storage / STUDY / "points").rglob("*")}
    assert len(runs(storage)[1]) == 3


def test_damaged_answers_are_one_line_before_any_trial(storage, tmp_path):
    shutil.copytree(storage, copy := tmp_path / "storage")
    (answers,) = (copy / "shared" / "answers").glob("*.safetensors")
    answers.write_bytes(answers.read_bytes()[:100])
    done = sweep(copy, "--trials", "3", "--tracking-uri", f"sqlite:///{copy}/own.db")
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{answers} are missing or damaged" in done.stderr
    assert "delete that file" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list((copy / STUDY / "points").glob("t*"))) == len(DESCENDED)


def open_to_others(pid: int) -> set[str]:
    """Addresses beyond the loopback that a process, or one that it began, listens on."""
    driver, found = psutil.Process(pid), set()
    for process in (driver, *driver.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket in process.net_connections("inet"):
                address = ipaddress.ip_address(socket.laddr.ip)
                here = (getattr(address, "ipv4_mapped", None) or address).is_loopback
                if socket.status == psutil.CONN_LISTEN and not here:
                    found.add(f"{socket.laddr.ip} {socket.laddr.port} of {process.name()}")
    return found


def test_a_study_that_is_told_to_end_ends_in_order(tmp_path):
    """SIGTERM to the driver alone, as Slurm and systemd send it, where a shell's background ignores Ctrl-C."""
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = start(tmp_path, "--tune-epochs", "2000", **ignoring)
    try:
        deadline = time.monotonic() + 240
        while not list(tmp_path.rglob("tune.safetensors")) and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.2)
        process.terminate()
        said, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1, said
    assert "2 trials are unfinished; the same command goes on from here" in said
    assert "SIGTERM received" not in said
    assert "Traceback" not in said


def test_killed_driver_goes_on(tmp_path, storage):
    """Kill -9 in the middle of the trials: the same command ends with the front of an undisturbed study.

    While it runs, nothing listens beyond this machine.
    """
    shutil.copytree(storage / "shared", tmp_path / "shared")
    process = start(tmp_path)
    deadline = time.monotonic() + 240
    while not list((tmp_path / STUDY).glob("points/t000*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    opened = open_to_others(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not opened, "a study on one machine listens to the world"
    done = sweep(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    keys = ("trial", "budget", "macs", "val_accuracy", "test_accuracy", "widths", "on_front")
    resumed, undisturbed = (
        sorted(([point[key] for key in keys] for point in front_of(folder)["points"]), key=str)
        for folder in (tmp_path, storage)
    )
    assert resumed == undisturbed
    _, tracked = runs(tmp_path)
    assert len(tracked) == 3
    assert {run.info.status for run in tracked} == {"FINISHED"}


def points_of(front: dict) -> dict[str, str]:
    keys = ("trial", "budget", "macs", "val_accuracy", "test_accuracy", "widths")
    return {point["point"]: str([point[key] for key in keys]) for point in front["points"]}


def records(bucket: Bucket) -> Counter[tuple[int, str]]:
    """How many records Optuna has of each trial, by state, in the bucket's copy of its database."""
    import optuna

    assert bucket.fetch_file(f"{STUDY}/optuna.db")
    url = f"sqlite:///{bucket.root / STUDY / 'optuna.db'}"
    study = optuna.load_study(study_name="nasprune", storage=url)
    return Counter((trial.user_attrs["slot"], trial.state.name) for trial in study.trials)


def test_a_killed_study_goes_on_from_a_bucket_alone(storage, tmp_path, monkeypatch):
    """Kill -9 in the middle, the machine's disk lost: the same command, with a trial more, goes on elsewhere.

    Nothing is done twice, Optuna has one record a trial, and the points are those of an undisturbed study in a folder.
    """
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mine"))
    with s3_server() as server:
        address = server.address("bucket/runs")
        bucket = Bucket(address)
        first = start_in_bucket(address, tmp_path / "one", "--board", "front")
        deadline = time.monotonic() + 240
        while not bucket.fetch_folder(f"{STUDY}/points/t000-50pct") and time.monotonic() < deadline:
            assert first.poll() is None, first.stdout.read()
            time.sleep(0.2)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        (tmp_path / "one").rename(tmp_path / "lost")  # workers that outlive the driver for a moment may still write
        killed = bucket.read(f"{STUDY}/points/t000-50pct/point.json")

        more = ("--board", "front", "--trials", "3", "--polish-epochs", "1")
        said = sweep_in_bucket(address, tmp_path / "two", *more)
        assert "is gone: going on where it stopped" in said
        assert "dense network: epoch" not in said, "the dense network is trained once"
        assert "asked about" not in said, "and asked once"
        assert bucket.read(f"{STUDY}/points/t000-50pct/point.json") == killed, "finished work is done once"
        assert records(bucket) == {(slot, "COMPLETE"): 1 for slot in range(3)}
        left = bucket.names(STUDY)
        assert not [name for name in left if name.startswith("trials/") or "claim" in name], left
        bucket.fetch_file(f"{STUDY}/front.json")
    undisturbed, resumed = points_of(front_of(storage)), points_of(front_of(bucket.root))
    assert len(undisturbed) == 4
    assert sum("polished" not in name for name in resumed) == 6
    assert any("polished" in name for name in resumed)
    assert undisturbed.items() <= resumed.items()


CLIENT = """
import sys, numpy as np, mlflow
assert not any(name in sys.modules for name in ("nasprune", "torch"))
data = np.load(sys.argv[1])
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/scenes-tests.system.own-network@champion")
logits = model.predict(data["images"])["logits"]
try:
    import nasprune
except ModuleNotFoundError:
    print(float((logits.argmax(1) == data["labels"]).mean()))
"""


def test_promoted_model_needs_nothing_of_ours(storage, tmp_path):
    """Promote, then predict in a fresh environment that holds MLflow and ONNX Runtime only."""
    from nasprune.artifact import data_settings
    from nasprune.data import load
    from nasprune.record import read_record

    done = promote(storage, "--study", STUDY, "--max-macs-ratio", "0.5", "--alias", "champion")
    assert done.returncode == 0, done.stdout + done.stderr
    client, _ = runs(storage)
    version = client.get_model_version_by_alias("scenes-tests.system.own-network", "champion")
    record = read_record(storage / STUDY / "points" / version.tags["point"])
    data = load(data_settings(record["data"]), storage / "shared" / "data")
    test = data.split.test
    pixels = np.ascontiguousarray(data.images.gather(test).float().div(255).numpy())
    np.savez(tmp_path / "test.npz", images=pixels, labels=data.store.labels[test])
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the PATH to make a fresh environment with")
    import mlflow
    import onnx
    import onnxruntime

    needed = [f"{m.__name__}=={m.__version__}" for m in (mlflow, onnx, onnxruntime)]
    environment = tmp_path / "fresh"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *needed], check=True)
    (tmp_path / "client.py").write_text(CLIENT)
    loaded = subprocess.run(
        [python, "client.py", "test.npz", f"sqlite:///{storage}/mlflow/mlflow.db"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert loaded.returncode == 0, loaded.stderr
    assert float(loaded.stdout.strip().splitlines()[-1]) == pytest.approx(record["test_accuracy"], abs=1.01 / len(test))


def test_promoting_a_changed_point_is_refused(storage, tmp_path):
    copy = tmp_path / "storage"
    shutil.copytree(storage, copy)
    point = next(point for point in front_of(copy)["points"] if point["on_front"])
    path = copy / STUDY / point["artifact"] / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": 0.999}))
    tracked = f"sqlite:///{storage}/mlflow/mlflow.db"
    chosen = ("--study", STUDY, "--point", point["point"], "--alias", "champion")
    done = promote(copy, *chosen, "--tracking-uri", tracked)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "logged was 0.9990" in done.stderr
    assert "it is not promoted" in done.stderr


def polished(names) -> set[str]:
    return {f"{name}-polished2" for name in names}


def test_polished_points_stand_beside_those_they_came_from(storage, tmp_path):
    """Whatever polished points beat, all points of the descents' own front are polished, once."""
    copy = tmp_path / "storage"
    shutil.copytree(storage, copy)
    before = {point["point"]: point for point in front_of(copy)["points"]}
    wanted = polished(name for name, point in before.items() if point["on_front"])
    more = ("--polish-epochs", "2", "--tracking-uri", f"sqlite:///{copy}/own.db")
    done = sweep(copy, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {point["point"]: point for point in front_of(copy)["points"]}
    assert set(after) - set(before) == wanted
    for name in wanted:
        assert after[name]["widths"] == after[name.removesuffix("-polished2")]["widths"]
        assert after[name]["polish_epochs"] == 2
        assert (copy / STUDY / "points" / name / "model.onnx").is_file()
    lost = sorted(wanted)[0]  # as if killed before it was written
    shutil.rmtree(copy / STUDY / "points" / lost)
    again = sweep(copy, *more)
    assert again.returncode == 0, again.stderr
    assert {point["point"] for point in front_of(copy)["points"]} == set(after)
