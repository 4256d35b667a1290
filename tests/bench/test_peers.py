"""The side-by-side at its smallest: it resumes, shares work, and its rows say what was run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--dataset", "scenes", "--network", "resnet10", "--image-size", "16", "--fractions", "0.2,0.4,0.4", "--budgets",
    "0.1,0.5", "--seeds", "0", "--dense-epochs", "1", "--search-epochs", "2", "--tune-epochs", "2", "--threads", "1",
    "--grown-search-epochs", "1", "--grown-tune-epochs", "1", "--growth", "0.5",
)  # fmt: skip
METHODS = "descent;Taylor over cost, one shot;same widths, from scratch;uniformly thinner, from scratch"


def peers(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "bench" / "peers.py", *TINY, "--out", out, *more],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    done = peers(folder, "--methods", METHODS, "--processes", "2")
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def by_file(out: Path) -> dict[Path, dict]:
    return {file: pq.read_table(file).to_pylist()[0] for file in (out / "rows").glob("*.parquet")}


def rows(out: Path) -> list[dict]:
    return list(by_file(out).values())


def test_every_method_has_a_row_at_every_budget_within_it(out):
    found = rows(out)
    assert sorted((row["method"], row["budget"]) for row in found) == sorted(
        (method, budget) for method in METHODS.split(";") for budget in (0.1, 0.5)
    )
    for row in found:
        assert 0.7 * row["budget"] < row["macs_ratio"] <= row["budget"]
        assert row["seconds"] > 0
        assert row["worst_class_test_accuracy"] <= row["test_accuracy"]


def test_work_is_counted_in_passes_of_the_dense_network(out):
    """Search runs at the width before, tuning at the derived one, the teacher forward on 8 views at the start."""
    by = {(row["method"], row["budget"]): row for row in rows(out)}
    descent = [by["descent", 0.5], by["descent", 0.1]]
    ratios = [row["macs_ratio"] for row in descent]
    # Importance and search at the width before, tuning and a forward pass at the one after.
    # The epochs, one and one at full width, grow to 2 and 1, then to 6 and 3.
    assert descent[0]["dense_passes"] == pytest.approx(3 + (1 + 1 / 3) * ratios[0] + 8 / 3)
    assert descent[1]["dense_passes"] == pytest.approx(7 * ratios[0] + (3 + 1 / 3) * ratios[1])
    plain = by["Taylor over cost, one shot", 0.1]
    assert plain["dense_passes"] == pytest.approx(1 + (4 + 1 / 3) * plain["macs_ratio"] + 8 / 3)
    for budget, epochs in ((0.5, 1 + 3), (0.1, 1 + 3 + 9)):  # the dense network's and the descent's down to it
        control = by["same widths, from scratch", budget]
        assert control["widths"] == by["descent", budget]["widths"]
        assert control["dense_passes"] == pytest.approx((epochs + 1 / 3) * control["macs_ratio"] + 8 / 3)


def test_table_and_picture_are_made_of_the_rows(out):
    table = (out / "table.md").read_text()
    assert table in (out / "printed.txt").read_text()
    for method in METHODS.split(";"):
        assert f"| {method} | 1 |" in table
    worst = table[table.index("the worst class alone; dense: ") :]
    assert [line.split(" | ")[0] for line in worst.splitlines()[4:]] == [f"| {method}" for method in METHODS.split(";")]
    assert (out / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_a_budget_of_fewer_seeds_is_named(out, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    first = [row for row in rows(out) if row["method"] == "descent"]
    second = [{**row, "seed": 1} for row in first if row["budget"] == 0.5]
    table = importlib.import_module("results").table([*first, *second], ["descent"])
    assert "| descent | 2, at 10% 1 |" in table


def test_running_again_does_only_what_is_missing(out):
    """Each budget by itself, where a method does not go from one to the next."""
    files = {(row["method"], row["budget"]): file for file, row in by_file(out).items()}
    lost = [("uniformly thinner, from scratch", 0.5), ("Taylor over cost, one shot", 0.1)]
    for name in lost:
        files[name].unlink()
    before = {file: file.stat().st_mtime_ns for file in files.values() if file.exists()}
    done = peers(out, "--methods", METHODS)
    assert done.returncode == 0, done.stderr
    assert all(files[name].exists() for name in lost)
    assert before == {file: file.stat().st_mtime_ns for file in before}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("--tune-epochs", "3"), "holds rows made with tune_epochs 2"),
        (("--methods", "guess"), "^method 'guess' given; expected one of: descent;"),
    ],
)
def test_what_cannot_be_run_is_refused(out, monkeypatch, wrong, expected):
    monkeypatch.syspath_prepend(ROOT / "bench")
    monkeypatch.setattr(sys, "argv", ["peers.py", *TINY, "--out", str(out), *wrong])
    with pytest.raises(SystemExit, match=expected):
        importlib.import_module("peers").main()


def test_rows_of_other_images_are_refused(out, monkeypatch):
    """They may lie at the same place, or under the same name."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    monkeypatch.setattr(sys, "argv", ["peers.py", *TINY, "--out", str(out)])
    module = importlib.import_module("peers")
    monkeypatch.setattr(module, "load", lambda *_: SimpleNamespace(store=SimpleNamespace(data_hash="others")))
    with pytest.raises(SystemExit, match="holds rows made with data_hash"):
        module.main()


def test_settings_are_replaced_whole(tmp_path, monkeypatch):
    """Of several processes that begin at once one may read them while another writes."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    claim = importlib.import_module("results").claim
    claim(tmp_path, {"epochs": 1})
    with (tmp_path / "settings.json").open() as reader:
        claim(tmp_path, {"seed": 0})
        assert json.load(reader) == {"epochs": 1}
    assert json.loads((tmp_path / "settings.json").read_text()) == {"epochs": 1, "seed": 0}


@pytest.fixture
def begun(out, monkeypatch):
    """Gives what begins `peers.py` with some flags, without its work."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    module = importlib.import_module("peers")
    images = SimpleNamespace(**json.loads((out / "settings.json").read_text()))
    monkeypatch.setattr(module, "load", lambda *_: SimpleNamespace(store=images))

    def begin(*more: str):
        monkeypatch.setattr(sys, "argv", ["peers.py", *TINY, "--out", str(out), *more])
        module.main()

    return module, begin


def test_a_missing_package_is_told_before_any_work(begun, monkeypatch):
    module, begin = begun
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="method 'torch-pruning magnitude, local, one shot' given"):
        begin()


def test_no_process_is_left_behind(begun, monkeypatch):
    module, begin = begun
    ended = []

    def stopped(*_):
        raise KeyboardInterrupt

    other = SimpleNamespace(terminate=lambda: ended.append(True))
    monkeypatch.setattr(module.subprocess, "Popen", lambda *_: other)
    monkeypatch.setattr(module, "run_all", stopped)
    with pytest.raises(KeyboardInterrupt):
        begin("--methods", "descent", "--processes", "3")
    assert len(ended) == 2


def test_trained_latency_refuses_points_of_other_epochs(tmp_path, point, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    module = importlib.import_module("trained_latency")
    monkeypatch.setattr(module, "load_data", lambda *_: sys.exit("begun"))
    given = ["", "--dense", str(point), "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    for more, said in (([], "begun"), (["--tune-epochs", "3"], "made with tune_epochs 32"), ([], "begun")):
        monkeypatch.setattr(sys, "argv", [*given, *more])
        with pytest.raises(SystemExit, match=said):
            module.main()


@pytest.mark.skipif(importlib.util.find_spec("torch_pruning") is None, reason="torch-pruning is not installed")
def test_peer_meets_the_budget(out):
    method = "torch-pruning taylor, isomorphic, iterative"
    done = peers(out, "--methods", method)
    assert done.returncode == 0, done.stderr
    for row in (row for row in rows(out) if row["method"] == method):
        assert 0.6 * row["budget"] < row["macs_ratio"] <= row["budget"]
