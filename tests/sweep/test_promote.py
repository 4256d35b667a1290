"""Promotion's laws: only what measures as logged, once, and always with a way back."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from nasprune.errors import ArtifactError, NaspruneError, SettingsError
from nasprune.record import BOARD_FILES, BOARD_REPORT, board_figures
from sweep import promote
from sweep.tracking.mlflow_client import default_uri, quiet
from sweep.tracking.tracker import Tracker
from sweep.tracking.writer import Writer
from tests.sweep.example_points import SIDE, write_point
from tests.sweep.fronts_of_studies import SETTINGS, put, study_front

ROOT = Path(promote.__file__).parent.parent
SETTINGS_OF_S = {"data_hash": "a" * 64, "image_size": SIDE}
RECORDS = {
    "t000-50pct": {"macs": 1176, "macs_ratio": 0.49, "val_accuracy": 0.95, "budget": 0.5},
    "t001-25pct": {"macs_ratio": 0.24, "val_accuracy": 0.9},
    "t002-25pct": {"macs_ratio": 0.25, "val_accuracy": 0.5},
}
Verifier = Callable[..., list[str]]
Promote = Callable[..., int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, empty_store: Path) -> Path:
    """A storage with a finished, tracked study of three points; the last is not on its front."""
    storage = tmp_path_factory.mktemp("finished")
    (storage / "mlflow").mkdir()
    shutil.copy(empty_store, storage / "mlflow" / "mlflow.db")
    outbox = storage / "s" / "outbox"
    tracker = Tracker(study="s", dataset="scenes", storage=storage, outbox=outbox, params={}, writer=Writer)
    points = []
    for seed, (point, changes) in enumerate(RECORDS.items()):
        directory = write_point(storage / "s", point, seed=seed, **changes)
        record = json.loads((directory / "point.json").read_text())
        tracker.point(record["trial"], directory, step=1, hypervolume=0.5)
        points.append({**record, "artifact": f"points/{point}", "on_front": point != "t002-25pct"})
    tracker.study_ended("FINISHED")
    tracker.close()
    dense = {"dataset": "scenes", "val_images": 8}
    (storage / "s" / "front.json").write_text(json.dumps({"dense": dense, "points": points}))
    (storage / "s" / "settings.json").write_text(json.dumps({**SETTINGS, **SETTINGS_OF_S}))
    return storage


@pytest.fixture
def study(finished: Path, storage: Path) -> Path:
    """That study in a storage of its own, since tracking it again would take a second a test."""
    shutil.copytree(finished, storage, dirs_exist_ok=True)
    with closing(sqlite3.connect(storage / "mlflow" / "mlflow.db")) as database, database:
        for table in ("experiments", "logged_models"):  # or it would be a copy that keeps its files in the other
            moved = "artifact_location = replace(artifact_location, ?, ?)"
            database.execute(f"UPDATE {table} SET {moved}", [finished.as_uri(), storage.as_uri()])
    return storage / "s"


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    """Makes programs that say they measured a point, and note what they were asked."""

    def build(test: float = 0.875, onnx: float = 0.875, images: int = 8, *, code: int = 0, text: str = "") -> list[str]:
        said = text or json.dumps({"test_accuracy": test, "onnx_test_accuracy": onnx, "images": images})
        program = tmp_path / "verifier.py"
        program.write_text(
            "import sys\n"
            f"open({str(tmp_path / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            "print('a library says hello')\n"
            f"print({said!r}, file=sys.stderr if {code} else sys.stdout)\n"
            f"sys.exit({code})\n"
        )
        return [sys.executable, str(program)]

    return build


@pytest.fixture
def run(study: Path, storage: Path, verifier: Verifier) -> Promote:
    def build(*flags: str, alias: str = "champion", program: list[str] | None = None) -> int:
        arguments = ["--study", "s", "--storage", str(storage), "--alias", alias, *flags]
        return promote.main(arguments, verifier=program or verifier())

    return build


def registry(storage: Path, name: str = "scenes-resnet10") -> tuple[dict[str, str], dict[int, str]]:
    """Aliases and versions, the latter by number with their point."""
    client = MlflowClient(default_uri(storage))
    with quiet():
        if not client.search_registered_models(f"name = '{name}'"):
            return {}, {}
        aliases = {key: str(value) for key, value in client.get_registered_model(name).aliases.items()}
        versions = {int(v.version): v.tags["point"] for v in client.search_model_versions(f"name = '{name}'")}
    return aliases, versions


def test_the_chosen_point_is_verified_registered_and_named(run: Promote, storage: Path, study: Path, capfd):
    assert run("--max-macs-ratio", "0.3") == 0
    assert registry(storage) == ({"champion": "1"}, {1: "t001-25pct"})
    asked = (storage / "asked").read_text().splitlines()
    assert asked == [f"{study / 'points' / 't001-25pct'} --data-dir {storage / 'shared' / 'data'}"]
    version = MlflowClient(default_uri(storage)).get_model_version_by_alias("scenes-resnet10", "champion")
    assert version.tags == {
        "study": "s",
        "trial": "t001",
        "point": "t001-25pct",
        "commit": "abc123",
        "data_hash": "d" * 64,
        "macs_ratio": "0.24",
        "val_accuracy": "0.9",
        "test_accuracy": "0.875",
    }
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "scenes-resnet10 version 1 is champion: point t001-25pct of study s" in printed.out
    assert "weakest of 3 classes on test images: port 2 of 3 (most often taken for road)\n" in printed.out
    assert "roll back: nothing else was champion before" in printed.out


@pytest.mark.parametrize(("most", "point"), [("576", "t001-25pct"), ("0.6k", "t001-25pct"), ("1.2 G", "t000-50pct")])
def test_a_number_of_macs_may_have_a_unit(run: Promote, storage: Path, most, point):
    assert run("--max-macs", most) == 0
    assert set(registry(storage)[1].values()) == {point}


def test_the_best_of_all_studies_of_a_data_set_can_be_promoted(study: Path, storage: Path, verifier: Verifier, capfd):
    """Here "worse" is no study that was tracked: nothing of it is asked for."""
    put(storage, study_front("worse", 10_000, {0.5: 0.93, 0.1: 0.2}, dataset="scenes", **SETTINGS_OF_S))
    put(storage, study_front("lucky", 100, {0.5: 1.0}, dataset="scenes"))
    arguments = ["--dataset", "scenes", "--storage", str(storage), "--alias", "champion", "--max-macs", "9k"]
    assert promote.main(arguments, verifier=verifier()) == 0
    assert registry(storage, "scenes") == ({"champion": "1"}, {1: "t000-50pct"})
    printed = capfd.readouterr().out
    assert "point t000-50pct of study s" in printed
    assert "not compared: study lucky, which has other images\n" in printed
    for more, reason in (
        (["--max-macs-ratio", "0.5"], "--max-macs-ratio given with --dataset, .*expected --max-macs"),
        (["--point", "t000-50pct"], "--point given with --dataset, .*expected --study"),
        (["--min-accuracy", "0.5", "--study", "s"], "not allowed with argument --dataset"),
        (["--min-accuracy", "0.99"], "no point has a validation accuracy of 0.99"),
        (["--min-accuracy", "0.5", "--dataset", "mars"], r"data set 'mars' given; .*\(there: scenes\)"),
    ):
        with pytest.raises(NaspruneError, match=reason):
            promote.main([*arguments[:6], *more], verifier=verifier())


def test_the_file_for_the_board_that_was_chosen_is_verified(run: Promote, storage: Path, study: Path, verifier, capfd):
    figures = {"bytes": 900.0, "latency_ms": 1.0, "val_accuracy": 0.8, "test_accuracy": 0.875}
    directory = study / "points" / "t001-25pct"
    (directory / BOARD_REPORT).write_text(json.dumps({"machine": "board", "float32": figures, "int8": figures}))
    (directory / BOARD_FILES["int8"]).write_bytes(b"x" * 900)
    front = json.loads((study / "front.json").read_text())
    front["points"][1] |= {**board_figures(directory), "board_machine": "board"}
    (study / "front.json").write_text(json.dumps(front))
    good = {"test_accuracy": 0.875, "onnx_test_accuracy": 0.875, "images": 8, "board": figures}
    bad = {**good, "board": {**figures, "test_accuracy": 0.25}}
    with pytest.raises(ArtifactError, match=r"the int8 file for the board of point t001-25pct has test accuracy 0\.25"):
        run("--max-bytes", "1k", "--precision", "int8", program=verifier(text=json.dumps(bad)))
    assert registry(storage) == ({}, {})
    for flags in (["--max-bytes", "1k"], ["--point", "t001-25pct"]):
        assert run(*flags, "--precision", "int8", program=verifier(text=json.dumps(good))) == 0
        assert (storage / "asked").read_text().endswith(" --precision int8\n")
    printed = capfd.readouterr().out
    assert f"the registered model is {directory / 'model.onnx'}, float32" in printed
    assert f"for the board, int8: {directory / 'board_int8.onnx'}, 0.00 MB" in printed
    with pytest.raises(SettingsError, match="files for the board of point t000-50pct were never measured"):
        run("--point", "t000-50pct", "--precision", "int8")


def test_the_printed_lines_load_the_model(run: Promote, storage: Path, study: Path, capfd):
    run("--min-accuracy", "0.92")
    lines = [line.strip() for line in capfd.readouterr().out.splitlines() if line.startswith("    ")]
    images = np.random.default_rng(0).random((2, 3, SIDE, SIDE), dtype=np.float32)
    before = mlflow.get_tracking_uri()
    try:
        with quiet():
            scope: dict = {"images": images}
            exec("\n".join(lines), scope)
            raw = mlflow.onnx.load_model("models:/scenes-resnet10@champion")
    finally:
        mlflow.set_tracking_uri(before)
    assert (scope["logits"].shape, scope["classes"]) == ((2, 3), ["farm", "port", "road"])
    assert raw.SerializeToString() == (study / "points" / "t000-50pct" / "model.onnx").read_bytes()


def test_a_point_is_registered_once(run: Promote, storage: Path, capfd):
    for said in ("nothing else was champion before", "champion was version 1 already; nothing moved"):
        run("--point", "t001-25pct")
        assert capfd.readouterr().out.endswith(f"roll back: {said}\n")
    run("--point", "t001-25pct", alias="candidate")
    assert registry(storage) == ({"champion": "1", "candidate": "1"}, {1: "t001-25pct"})
    client = MlflowClient(default_uri(storage))
    experiment = client.get_experiment_by_name("scenes").experiment_id
    (model,) = client.search_logged_models([experiment], filter_string="params.point = 't001-25pct'")
    (link,) = json.loads(model.tags["mlflow.modelVersions"])
    assert (link["name"], str(link["version"])) == ("scenes-resnet10", "1")


def rolled_back(out: str) -> None:
    """Do what the last line printed says."""
    words = shlex.split(out.strip().splitlines()[-1])
    assert words[:4] == ["uv", "run", "python", "-c"]
    with quiet():
        exec(words[4])


def test_the_printed_roll_back_rolls_back(run: Promote, storage: Path, capfd):
    run("--point", "t000-50pct", "--name", "my model")
    run("--point", "t001-25pct", "--name", "my model")
    assert registry(storage, "my model")[0] == {"champion": "2"}
    out = capfd.readouterr().out
    assert "roll back, to version 1 that was champion before:" in out
    rolled_back(out)
    assert registry(storage, "my model") == ({"champion": "1"}, {1: "t000-50pct", 2: "t001-25pct"})


def test_a_version_of_other_origin_can_be_rolled_back_to(run: Promote, storage: Path, tmp_path: Path, capfd):
    """Another storage's, of the same study and point by name, or one that this project did not make."""
    client = MlflowClient(default_uri(storage))
    with quiet():
        client.create_registered_model("scenes-resnet10")
        client.create_model_version("scenes-resnet10", source=str(tmp_path), tags={"study": "s", "point": "t001-25pct"})
        client.set_registered_model_alias("scenes-resnet10", "champion", "1")
    run("--point", "t001-25pct")
    rolled_back(capfd.readouterr().out)
    with quiet():
        assert client.get_model_version_by_alias("scenes-resnet10", "champion").version in (1, "1")


def test_a_storage_that_was_moved_is_not_promoted_from(run: Promote, storage: Path, study: Path):
    """Its store names files by whole paths: the alias would point at a model that cannot be loaded."""
    with closing(sqlite3.connect(storage / "mlflow" / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE logged_models SET artifact_location = replace(artifact_location, 'file://', 'file:///was')"
        )
    with pytest.raises(SettingsError, match=r"where there is nothing now; .* move the storage back"):
        run("--point", "t001-25pct")
    assert registry(storage) == ({}, {})


def test_a_kill_before_the_alias_moves_leaves_the_old_one(run: Promote, storage: Path, monkeypatch):
    run("--point", "t000-50pct")

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            run("--point", "t001-25pct")
    assert registry(storage)[0] == {"champion": "1"}
    run("--point", "t001-25pct")
    assert registry(storage) == ({"champion": "2"}, {1: "t000-50pct", 2: "t001-25pct"})


@pytest.mark.parametrize(("test", "onnx", "fits"), [(0.75, 1.0, True), (0.625, 0.875, False), (0.875, 0.625, False)])
def test_one_image_may_change_sides_and_no_more(run: Promote, storage: Path, verifier: Verifier, test, onnx, fits):
    if fits:
        run("--point", "t001-25pct", program=verifier(test, onnx))
        return
    with pytest.raises(ArtifactError, match="at most one image"):
        run("--point", "t001-25pct", program=verifier(test, onnx))
    assert registry(storage) == ({}, {})


def test_an_accuracy_that_is_no_number_is_refused(run: Promote, storage: Path, verifier: Verifier):
    with pytest.raises(ArtifactError, match="test accuracy nan"):
        run("--point", "t001-25pct", program=verifier(float("nan")))
    assert registry(storage) == ({}, {})


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ({"code": 2, "text": "error: weights.safetensors is damaged"}, "not promoted: weights.safetensors is damaged"),
        ({"code": -9}, "not promoted: "),
        ({"text": "not JSON"}, "not promoted: not JSON"),
        ({"text": "{}"}, "not promoted: "),
    ],
)
def test_what_cannot_be_verified_is_not_promoted(run: Promote, storage: Path, verifier: Verifier, program, reason):
    with pytest.raises(ArtifactError, match=reason):
        run("--point", "t001-25pct", program=verifier(**program))
    assert registry(storage) == ({}, {})


def test_another_file_than_the_tracked_one_is_refused(run: Promote, storage: Path, study: Path):
    (study / "points" / "t001-25pct" / "model.onnx").write_bytes(b"another")
    with pytest.raises(ArtifactError, match="differs from the model tracked"):
        run("--point", "t001-25pct")
    assert not (storage / "asked").exists()


def test_a_point_that_is_not_tracked_is_refused_before_it_is_measured(run: Promote, storage: Path, empty_store: Path):
    other = storage / "other.db"
    other.write_bytes(empty_store.read_bytes())
    with pytest.raises(SettingsError, match="is not in sqlite:///"):
        run("--point", "t001-25pct", "--tracking-uri", f"sqlite:///{other}")
    assert not (storage / "asked").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--max-macs-ratio", "0.1"], "0.1"),
        (["--max-macs", "0.1k"], "no point has a number of MACs of at most 100; the cheapest is t001-25pct"),
        (["--max-macs", "300X"], "'300X' given; expected a number, as 300M or 1.2G"),
        (["--max-macs", "-1"], "expected one argument|number from 0 up"),
        (["--min-accuracy", "0.99"], "0.99"),
        (["--min-accuracy", "93"], "93"),
        (["--min-accuracy", "high"], "invalid float value"),
        (["--point", "t009"], "t009"),
        (["--max-macs-ratio", "0.3", "--by", "latency"], "--by latency given without --min-accuracy"),
        (["--max-macs", "1G", "--precision", "int8"], "--precision int8 given with a choice by MACs"),
        (["--max-bytes", "1X"], "'1X' given; expected a number"),
        ([], "one of the arguments"),
        (["--point", "t001-25pct", "--min-accuracy", "0.5"], "not allowed with"),
        (["--point", "t001-25pct", "--alais", "x"], "unrecognized arguments: --alais"),
        (["--point", "t001-25pct", "--alias", "latest"], "alias 'latest'"),
        (["--point", "t001-25pct", "--alias", "v1"], "alias 'v1'"),
        (["--point", "t001-25pct", "--alias", "a b"], "alias 'a b'"),
        (["--point", "t001-25pct", "--name", "a/b"], "name 'a/b'"),
        (["--point", "t001-25pct", "--tracking-uri", "http://"], "add the host"),
        (["--point", "t001-25pct", "--study", "nosuch"], "there: s"),
        (["--point", "t001-25pct", "--study", "../s"], r"study name '\.\./s' given; expected up to 100 letters"),
    ],
)
def test_what_cannot_be_honoured_is_one_line(run: Promote, storage: Path, flags, reason):
    with pytest.raises(NaspruneError, match=reason) as caught:
        run(*flags)
    assert "\n" not in str(caught.value)
    assert registry(storage) == ({}, {})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": 3}', '{"points": ['])
def test_a_damaged_front_is_refused(run: Promote, study: Path, text: str):
    (study / "front.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"front\.json is damaged"):
        run("--point", "t001-25pct")


def test_as_a_script_errors_are_one_line_and_code_2(tmp_path: Path):
    flags = ["--study", "x", "--storage", tmp_path, "--alias", "a", "--point", "p"]
    done = subprocess.run(
        [sys.executable, ROOT / "sweep" / "promote.py", *flags],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: study 'x' given; expected one with a front.json under")
    assert done.stderr.count("\n") == 1


def test_a_point_is_promoted_from_a_bucket(study: Path, storage: Path, verifier: Verifier, tmp_path: Path, monkeypatch):
    """On a machine that has nothing of the study: what is needed is fetched, and measured here."""
    for path in study.glob("points/*/point.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "provenance": {**record["provenance"], "packed": "scenes-0"}}))
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    study.rename(bucket / "s")
    monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "cache"))
    where = ["--storage", bucket.as_uri(), "--tracking-uri", default_uri(storage), "--alias", "champion"]
    arguments = ["--study", "s", *where]
    assert promote.main([*arguments, "--max-macs-ratio", "0.3"], verifier=verifier()) == 0
    assert registry(storage) == ({"champion": "1"}, {1: "t001-25pct"})
    (mirror,) = (tmp_path / "cache").iterdir()
    asked = (storage / "asked").read_text().splitlines()
    assert asked == [f"{mirror / 's' / 'points' / 't001-25pct'} --data-dir {mirror / 'shared' / 'data'}"]
    assert [path.name for path in (mirror / "s" / "points").glob("t*")] == ["t001-25pct"]
    with pytest.raises(SettingsError, match=r"study 'other' given; .* \(there: s\)"):
        promote.main(["--study", "other", *where, "--max-macs-ratio", "0.3"], verifier=verifier())


def test_a_model_that_is_not_whole_is_not_promoted(run: Promote, storage: Path):
    """Its writing was killed before MLflow was told that all of it is there."""
    with closing(sqlite3.connect(storage / "mlflow" / "mlflow.db")) as database, database:
        database.execute("UPDATE logged_models SET status = ?", [LoggedModelStatus.PENDING.to_int()])
    with pytest.raises(SettingsError, match="is not in sqlite:///"):
        run("--point", "t001-25pct")
    assert registry(storage) == ({}, {})
