"""Law 9: whatever cannot be honoured gives one clear line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nasprune.latency import LatencyTable
from sweep.commandline import command
from sweep.run import main

ROOT = Path(__file__).resolve().parents[2]


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def _tracked(tmp_path, empty_store):
    """The tables of the default store are there: making them takes seconds."""
    store = tmp_path / "runs" / "mlflow" / "mlflow.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(empty_store.read_bytes())


@pytest.fixture
def images(tmp_path):
    """A good data set of two classes, for tests to spoil."""
    for label in ("field", "forest"):
        for number in range(12):
            image(tmp_path / "images" / label / f"{label}{number}.png", number + 100 * (label == "field"))
    return tmp_path / "images"


def refused(capsys, monkeypatch, tmp_path, *arguments: str) -> str:
    """The one line that the command prints."""
    storage = tmp_path / "runs"
    given = [*arguments] if "--storage" in arguments else [*arguments, "--storage", str(storage)]
    monkeypatch.setattr(sys, "argv", ["run.py", *given])
    with pytest.raises(SystemExit) as exit_:
        command(main)
    output = capsys.readouterr()
    assert exit_.value.code == 2, output
    lines = output.err.strip().splitlines()
    assert len(lines) == 1, output.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in output.out
    left = [p.name for p in storage.glob("*") if p.name not in ("shared", "mlflow")]
    assert not left, "a study that never began has left files"
    assert not [p for p in storage.rglob("*") if p.name.endswith((".unfinished", ".partial"))]
    assert not list(storage.glob("shared/dense/*/point.json")), "nothing is trained before all is known to be right"
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budgets", "0"), "budgets '0' given"),
        (("--budgets", "2"), "budgets '2' given"),
        (("--budgets", "0.5,half"), "expected comma-separated numbers"),
        (("--weights", "imagenet"), "weights 'imagenet' given for resnet10; expected scratch"),
        (("--seed", "4294967296"), "seed 4294967296 given; expected 0 to 4294967295"),
        (("--device", "cuda", "--gpus-per-trial", "0"), "device cuda with gpus-per-trial 0 given"),
        (("--device", "cpu", "--gpus-per-trial", "0.5"), "device cpu with gpus-per-trial 0.5 given"),
        (("--storage", "s3://bucket/x?client_secret=hush"), "s3://bucket/x?client_secret=...' given with a password"),
        (("--budgets", "0.5,0.5"), "expected each one once"),
        (("--budgets", "0.0001"), "budget 0.0001 given, but the least of every group"),
        (("--network", "resnet99"), "network 'resnet99' given; expected resnet10, a class"),
        (("--network", "timm:resnet99"), "network 'timm:resnet99' given, but timm says"),
        (("--network", "no_such_package:make"), "network 'no_such_package:make' given, but No module named"),
        (("--network", ":make"), "network ':make' given, but Empty module name"),
        (("--network", ".make:net"), "network '.make:net' given, but the 'package' argument is required"),
        (("--cost", "watts"), "cost 'watts' given; expected one of macs, params, latency"),
        (("--latency-table", "table.json"), "latency-table given with cost macs"),
        (("--cost", "latency", "--latency-table", "/nowhere/t.json"), "/nowhere/t.json given as latency table"),
        (("--round-to", "0"), "widths rounded to 0 given"),
        (("--round-to", "64", "--budgets", "0.05"), "budget 0.05 given, but the least of every group"),
        (("--network", "vgg16", "--image-size", "16"), "image size 16 given; vgg16"),
        (("--head", "two"), "head 'two' given"),
        (("--image-size", "5"), "image size 5: give 16 to 1024"),
        (("--dataset", "mars"), "data set 'mars'"),
        (("--dataset", "folder"), "--data"),
        (("--dataset", "ucm", "--data", "/nowhere/ucm.zip"), "/nowhere/ucm.zip"),
        (("--study", "a/b"), "study name 'a/b' given"),
        (("--study", "shared"), "study name 'shared' given"),
        (("--trials", "many"), "trials 'many' given; expected a whole number"),
        (("--trials", "0"), "trials 0 given"),
        (("--trials", "2", "--mode", "target"), "2 trials for 3 budgets given"),
        (("--mode", "guess"), "mode 'guess' given"),
        (("--growth", "2"), "growth 2 given"),
        (("--budgets", "0.1,0.1000000001"), "expected each one once"),
        (("--search", "cost_weight=0.5"), "search setting 'cost_weight' given, but it makes no difference"),
        (("--search", "scale=uniform,cost_exponent=0.5"), "search setting 'cost_exponent' given, but it makes"),
        (("--search", "ramp=0.4,ramp=0.5"), "search setting 'ramp' given twice"),
        (("--search", "ramp=0.4:0.5,ramp=0.5"), "search setting 'ramp' given twice"),
        (("--search", "ramp=0.9:0.1"), "range 0.9 to 0.1 given; expected low <= high"),
        (
            ("--search", "ramp=low:high"),
            "search setting 'ramp=low:high' given; expected a number for ramp, or LOW:HIGH",
        ),
        (("--search", "ramp=0.1:0.5:0.9"), "expected a number for ramp, or LOW:HIGH"),
        (("--search", "ramp=0.5:2"), "search ramp 2 given; expected 0 to 1"),
        (("--search", "cost_weight=0.1:1"), "search setting 'cost_weight' given, but it makes no difference"),
        (("--search", "initial=l1:fpgm"), "search initial 'l1:fpgm' given"),
        (("--search-epochs", "0", "--trials", "1", "--search", "ramp=0.4"), "'ramp' given, but it makes no difference"),
        (("--search", "distillation=0,distillation_temperature=8"), "'distillation_temperature' given, but it makes"),
        (
            ("--search", "cost_exponent=1,ramp=0.5,weight_learning_rate=0.03,distillation=0.7,saliency_epochs=1"),
            "4 trials given, but these settings of the search leave nothing to explore",
        ),
        (("--budgets", "0.5", "--reduction-factor", "2"), "reduction-factor 2 with one budget given"),
        (("--reduction-factor", "0.5"), "reduction-factor 0.5 given"),
        (("--reduction-factor", "nan"), "reduction-factor nan given"),
        (("--reduction-factor", "3", "--mode", "target"), "reduction-factor 3 with mode target given"),
        (("--speed", "9"), "unrecognized arguments: --speed 9"),
        (("--settings", "/nowhere/s.toml"), "settings file /nowhere/s.toml given"),
        (("--fractions", "0.5,0.1"), "fractions"),
        (("--fractions", "0.9,0.2,0.2"), "fractions"),
        (("--search", "colour=red"), "search setting 'colour=red' given"),
        (("--search", "learn=guess"), "search learn 'guess' given"),
        (("--augmentation", "blur=1"), "augmentation setting 'blur=1' given; expected KEY=VALUE with KEY one of flips"),
        (("--augmentation", "flips"), "augmentation setting 'flips' given; expected KEY=VALUE"),
        (("--augmentation", "flips=maybe"), "augmentation setting 'flips=maybe' given; expected yes or no for flips"),
        (("--augmentation", "shift=far"), "augmentation setting 'shift=far' given; expected a number for shift"),
        (("--augmentation", "shift=0.9"), "augmentation shift 0.9: give a share of the side"),
        (("--augmentation", "shift=0,shift=0.1"), "augmentation setting 'shift' given twice"),
        (("--views", "0"), "0 views given; expected at least 1"),
        (("--weights", "/nowhere/w.safetensors"), "weights '/nowhere/w.safetensors' given"),
        (("--device", "tpu"), "device 'tpu' given"),
        (("--tracking-uri", "http://127.0.0.1:9/"), "tracking URI 'http://127.0.0.1:9' given"),
        (("--tracking-uri", "ftp://x"), "tracking URI 'ftp://x' given"),
        (("--batch-size", "1"), "batch-size 1 given"),
        (("--gpus-per-trial", "nan"), "gpus-per-trial nan given"),
        (("--gpus-per-trial", "2"), "gpus-per-trial 2 given"),
        (("--search-epochs", "0", "--search", "cost_exponent=1"), "leave nothing to explore"),
        (("--seed", "-1"), "seed -1"),
    ],
)
def test_wrong_settings(capsys, monkeypatch, tmp_path, arguments, message):
    few = () if "--dataset" in arguments else ("--scenes-per-class", "10")
    assert message in refused(capsys, monkeypatch, tmp_path, *arguments, *few)


def text_named_jpg(images: Path) -> None:
    (images / "field" / "notes.jpg").write_text("not an image")


def truncated(images: Path) -> None:
    path = images / "forest" / "forest3.png"
    path.write_bytes(path.read_bytes()[:200])


def one_class(images: Path) -> None:
    for path in (images / "field").iterdir():
        path.unlink()
    (images / "field").rmdir()


def empty_class(images: Path) -> None:
    (images / "desert").mkdir()


def too_few(images: Path) -> None:
    image(images / "desert" / "desert0.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (text_named_jpg, "notes.jpg"),
        (truncated, "forest3.png"),
        (one_class, "forest"),
        (empty_class, "desert"),
        (too_few, "desert"),
    ],
)
@pytest.mark.parametrize("packed", ["folder", "zip"])
def test_wrong_images(capsys, monkeypatch, tmp_path, images, spoil, message, packed):
    spoil(images)
    source = images
    if packed == "zip":
        source = tmp_path / "images.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in sorted(images.rglob("*")):
                archive.write(path, path.relative_to(tmp_path))
    line = refused(capsys, monkeypatch, tmp_path, "--dataset", "folder", "--data", str(source))
    assert message in line


def test_corrupt_zip(capsys, monkeypatch, tmp_path):
    (tmp_path / "images.zip").write_bytes(b"PK\x03\x04 and then nothing")
    line = refused(capsys, monkeypatch, tmp_path, "--dataset", "folder", "--data", str(tmp_path / "images.zip"))
    assert "images.zip" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [("budgets = [0.5", "not valid TOML"), ("speed = 9", "has 'speed'"), ("trials = 1.5", "trials '1.5' given")],
)
def test_wrong_settings_file(capsys, monkeypatch, tmp_path, text, message):
    (tmp_path / "s.toml").write_text(text)
    assert message in refused(capsys, monkeypatch, tmp_path, "--settings", str(tmp_path / "s.toml"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("not weights"), "w.safetensors is not a readable safetensors file"),
        (lambda path: save_file({"x": torch.zeros(2)}, path), "w.safetensors do not fit resnet10"),
    ],
)
def test_wrong_weights(capsys, monkeypatch, tmp_path, spoil, message):
    """Told of the file as it was given, before anything is kept under the study's name."""
    spoil(tmp_path / "w.safetensors")
    given = ("--scenes-per-class", "10", "--image-size", "16", "--weights", str(tmp_path / "w.safetensors"))
    assert f"{tmp_path}/{message}" in refused(capsys, monkeypatch, tmp_path, *given)
    assert not (tmp_path / "runs" / "shared" / "weights").exists()


def test_storage_below_a_file(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused(capsys, monkeypatch, tmp_path, "--storage", str(tmp_path / "file" / "runs"))
    assert "storage" in line
    assert "choose another --storage" in line


def test_resumed_with_other_settings(capsys, monkeypatch, tmp_path):
    from sweep.commandline import parse_settings

    kept = parse_settings(["--scenes-per-class", "10"]).as_json()
    study = tmp_path / "other" / "scenes-resnet10"
    study.mkdir(parents=True)
    (study / "settings.json").write_text(json.dumps(kept))
    line = refused(
        capsys, monkeypatch, tmp_path,
        "--scenes-per-class", "10", "--tune-epochs", "7", "--storage", str(tmp_path / "other"),
    )  # fmt: skip
    assert "was started with tune-epochs 4, now 7 is given" in line
    assert [path.name for path in study.iterdir()] == ["settings.json"]


def test_resumed_with_other_times_in_the_same_latency_table(capsys, monkeypatch, tmp_path):
    """Budgets would mean something else for the trials to come."""
    from sweep.commandline import parse_settings

    table = tmp_path / "board.json"
    given = ["--scenes-per-class", "10", "--cost", "latency", "--latency-table", str(table)]
    times = LatencyTable(runtime="onnxruntime", threads=1, machine="the board", layers={})
    times.write(table)
    study = tmp_path / "other" / "scenes-resnet10"
    study.mkdir(parents=True)
    kept = parse_settings([*given, "--storage", str(study.parent)]).resolved()
    (study / "settings.json").write_text(json.dumps(kept.as_json()))
    times.write(kept.table)
    dataclasses.replace(times, machine="another board").write(table)
    line = refused(capsys, monkeypatch, tmp_path, *given, "--storage", str(study.parent))
    assert f"latency-table {table} given, whose times are not those that study 'scenes-resnet10' was started" in line


@pytest.mark.parametrize(
    ("size", "arguments"),
    [
        ("4m", ("--scenes-per-class", "40", "--image-size", "64")),  # the images do not fit
        ("12m", ("--scenes-per-class", "10", "--image-size", "16", "--dense-epochs", "1")),  # the network does not
    ],
)
def test_full_disk(tmp_path, size, arguments):
    """A real, small disk: one line that names the storage, and no file that would pass for whole."""
    mount = tmp_path / "disk"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: needs root and the right to mount")
    try:
        done = subprocess.run(
            [sys.executable, ROOT / "sweep" / "run.py", *arguments, "--storage", mount],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "error: " in done.stderr
        assert str(mount) in done.stderr
        assert not [path for path in mount.rglob("*") if path.name.endswith((".unfinished", ".partial"))]
        assert not list(mount.glob("shared/dense/*/point.json"))
    finally:
        subprocess.run(["umount", mount], check=True)
