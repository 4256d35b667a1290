"""Whole studies with real parts: Ray, Optuna, MLflow, a fresh environment; small enough for a minute."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.system.studies import OWN, ROOT, SMALL, STUDY, front_of, runs, sweep

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


def listening() -> set[str]:
    """Addresses beyond the loopback that something on this machine listens on, as the kernel writes them."""
    loopback = ("7F", "0000007F")  # 127.0.0.0/8 is written backwards: 0100007F
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host = address.split(":")[0]
            local = host.endswith(loopback) or host == "00000000000000000000000001000000"
            if state == "0A" and not local:
                found.add(address)
    return found


def test_a_study_that_is_told_to_end_ends_in_order(tmp_path):
    """SIGTERM to the driver alone, as Slurm and systemd send it, where a shell's background ignores Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "sweep" / "run.py", *SMALL, *OWN, "--tune-epochs", "2000", "--storage", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
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
    before = listening()
    process = subprocess.Popen(
        [sys.executable, ROOT / "sweep" / "run.py", *SMALL, "--storage", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list((tmp_path / STUDY).glob("points/t000*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.2)
    opened = listening() - before
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


CLIENT = """
import sys, numpy as np, mlflow
assert not any(name in sys.modules for name in ("nasprune", "torch"))
data = np.load(sys.argv[1])
mlflow.set_tracking_uri(sys.argv[2])
model = mlflow.pyfunc.load_model("models:/scenes-resnet10@champion")
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

    done = subprocess.run(
        [sys.executable, ROOT / "sweep" / "promote.py", "--study", STUDY, "--storage", storage,
         "--max-macs-ratio", "0.5", "--alias", "champion"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    client, _ = runs(storage)
    version = client.get_model_version_by_alias("scenes-resnet10", "champion")
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
    done = subprocess.run(
        [sys.executable, ROOT / "sweep" / "promote.py", "--study", STUDY, "--storage", copy,
         "--tracking-uri", f"sqlite:///{storage}/mlflow/mlflow.db", "--point", point["point"], "--alias", "champion"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
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
