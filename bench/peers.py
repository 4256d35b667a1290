"""Side by side: this project's descent against plain criteria, the torch-pruning package and controls.

    uv run --group bench bench/peers.py --dataset ucm --data UCMerced_LandUse.zip --seeds 0,1,2 --out runs/peers-ucm
    uv run --group bench bench/peers.py --quick

Every method gets the same dense network, images, augmented views, teacher and epochs a budget. A run is one method
with one seed over all budgets; each budget leaves a row in `<out>/rows/` as a Parquet file. Running again does what is
missing, several processes on one folder share the work (`--processes 16` starts them), and `--table` only draws what
is there: `table.md`, `peers.png`. Seeds are of pruning; the dense network and its answers are one for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from filelock import FileLock, Timeout
from methods import METHODS, Bench

from nasprune.answers import obtain_answers
from nasprune.compute import choose_compute
from nasprune.data import DataSettings, SceneData, load
from nasprune.dense import DenseSettings, obtain_dense
from nasprune.descent import DescentSettings, Pruned
from nasprune.networks import NetworkSettings
from nasprune.progress import Progress
from nasprune.provenance import commit
from nasprune.scene_descent import descent_from
from nasprune.training import TrainingSettings

COMMIT = commit()  # of the code that is read now; files may change while it runs
SAME = (
    "dataset", "network", "image_size", "fractions", "dense_epochs", "search_epochs", "tune_epochs",
    "grown_search_epochs", "grown_tune_epochs", "growth", "views", "batch_size",
)  # fmt: skip
_NOT_IN_ROWS = ("seconds", "whole", "test_confusion")
QUICK = {
    "dataset": "scenes", "network": "resnet10", "image_size": 48, "fractions": "0.7,0.1,0.2", "budgets": "0.25,0.05",
    "seeds": "0", "dense_epochs": 12, "search_epochs": 2, "tune_epochs": 4, "grown_search_epochs": 1,
    "grown_tune_epochs": 2, "batch_size": 64, "out": "runs/peers-quick",
    "methods": "descent;target;L1, uniform widths, one shot;Taylor over cost, one shot;"
    "torch-pruning taylor, isomorphic, iterative",
}  # fmt: skip


@dataclass
class Meter:
    """Counts epochs."""

    search: int = 0
    tune: int = 0

    def __call__(self, progress: Progress) -> None:
        """Count an epoch."""
        if progress.phase == "search":
            self.search += 1
        else:
            self.tune += 1

    def take(self) -> tuple[int, int]:
        """Epochs of search and of tuning since the last call."""
        counted = self.search, self.tune
        self.search = self.tune = 0
        return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few minutes on two cores, on generated scenes")
    parser.add_argument("--table", action="store_true", help="only draw what is there")
    parser.add_argument("--dataset", default="ucm")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--fractions", default="0.75,0.05,0.2", help="train, validation and test shares")
    parser.add_argument("--budgets", default="0.5,0.25,0.1,0.05,0.02")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--methods", default="", help="names, separated by ';'; empty for all")
    parser.add_argument("--dense-epochs", type=int, default=160)
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--tune-epochs", type=int, default=16)
    parser.add_argument("--grown-search-epochs", type=int, default=1, help="at full width, in descents that grow them")
    parser.add_argument("--grown-tune-epochs", type=int, default=10)
    parser.add_argument("--growth", type=float, default=DescentSettings.growth, help="see DescentSettings")
    parser.add_argument("--views", type=int, default=DescentSettings.views)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1, help="that share the work; on a GPU best under MPS")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"))
    if "--quick" in sys.argv:
        parser.set_defaults(**QUICK)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if not arguments.table:
        results.claim(arguments.out, {name: getattr(arguments, name) for name in SAME})
        names = [name for name in arguments.methods.split(";") if name] or list(METHODS)
        for name in names:
            if name not in METHODS:
                sys.exit(f"method '{name}' given; expected one of: " + "; ".join(METHODS))
        data = load_data(arguments)
        results.claim(arguments.out, {"data_hash": data.store.data_hash})
        if importlib.util.find_spec("torch_pruning") is None:
            theirs = [name for name in names if METHODS[name].family == "torch-pruning"]
            if theirs:  # told before hours of other methods
                sys.exit(f"method '{theirs[0]}' given; expected torch-pruning installed: run with uv run --group bench")
        others = [
            subprocess.Popen([sys.executable, __file__, *sys.argv[1:], "--processes", "0"])
            for _ in range(arguments.processes - 1)
        ]
        try:
            run_all(arguments, names, data)
            codes = [other.wait() for other in others]
        except BaseException:  # who is stopped leaves none behind on a GPU that others wait for
            for other in others:
                other.terminate()
            raise
        if any(codes):
            return 1
        if others:
            run_all(arguments, names, data)  # what waited for another process's widths
    if arguments.processes:
        results.write(arguments.out, list(METHODS))
    return 0


def load_data(arguments: argparse.Namespace) -> SceneData:
    """The images, packed in the folder of the rows."""
    first, second, third = (float(text) for text in arguments.fractions.split(","))
    return load(
        DataSettings(
            dataset=arguments.dataset, data=arguments.data, image_size=arguments.image_size,
            fractions=(first, second, third),
        ),
        arguments.out / "data",
    )  # fmt: skip


def run_all(arguments: argparse.Namespace, names: list[str], data: SceneData) -> None:
    """All runs that are asked for, not there yet, and not under way in another process."""
    budgets = tuple(sorted((float(text) for text in arguments.budgets.split(",")), reverse=True))
    compute = choose_compute(arguments.device, threads=arguments.threads)
    dense_settings = DenseSettings(
        network=NetworkSettings(network=arguments.network, classes=len(data.classes), image_size=arguments.image_size),
        training=TrainingSettings(epochs=arguments.dense_epochs),
        batch_size=arguments.batch_size,
    )
    dense = obtain_dense(arguments.out / "dense", dense_settings, data, compute, show)
    print(f"dense: validation {dense.record['val_accuracy']:.2%}, test {dense.record['test_accuracy']:.2%}", flush=True)
    settings = DescentSettings(batch_size=arguments.batch_size, growth=arguments.growth, views=arguments.views)
    answers = obtain_answers(arguments.out / "answers", dense, data, settings, compute)
    for seed in (int(text) for text in arguments.seeds.split(",")):
        meter = Meter()
        bench = Bench(
            dense=dense,
            data=data,
            down=descent_from(dense, data, settings, compute, answers=answers, seed=seed),
            budgets=budgets,
            missing=budgets,
            search_epochs=arguments.search_epochs,
            tune_epochs=arguments.tune_epochs,
            grown_epochs=(arguments.grown_search_epochs, arguments.grown_tune_epochs),
            found=functools.partial(results.widths, arguments.out, "descent", seed),
            report=meter,
        )
        for name in names:
            run_one(name, bench, meter, arguments.out)


def run_one(name: str, bench: Bench, meter: Meter, out: Path) -> None:
    """One method with one seed, unless it is done or under way."""
    seed = bench.down.seed
    if name.startswith("same widths") and not all(
        results.path(out, "descent", seed, budget).exists() for budget in bench.budgets
    ):
        print(f"{name}, seed {seed}: left out until its descent is there", flush=True)
        return
    lock = FileLock(results.path(out, name, seed, 0).with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return
    try:
        missing = tuple(budget for budget in bench.budgets if not results.path(out, name, seed, budget).exists())
        if not missing:
            return
        began, macs = time.process_time(), float(bench.dense.record["macs"])
        asked = False
        before = macs
        for pruned in METHODS[name].run(dataclasses.replace(bench, missing=missing)):
            search, tune = meter.take()
            if not METHODS[name].iterative:
                before, asked = macs, False
            # In passes of the dense network over the training images, forward and backward, where backward counts as
            # two forward ones. Every front counts what the teacher's answers took, once.
            taught, asked = 0 if asked else bench.down.settings.views, True
            before_cut = search + METHODS[name].importance_passes
            passes = (before_cut * before + (tune + 1 / 3) * pruned.macs) / macs + taught / 3  # 1 / 3: re-calibration
            row = row_of(name, bench, pruned, passes=passes, seconds=time.process_time() - began)
            results.keep(out, row)
            print(
                f"{name:50} seed {seed} {pruned.budget:5.0%}: cut {pruned.recalibrated_val_accuracy:.1%}, "
                f"validation {pruned.val_accuracy:.1%}, test {pruned.test_accuracy:.1%}, {row['seconds']:.0f} s",
                flush=True,
            )
            before, began = float(pruned.macs), time.process_time()
    finally:
        lock.release()


def row_of(name: str, bench: Bench, pruned: Pruned, *, passes: float, seconds: float) -> dict[str, Any]:
    """A row of the Parquet files; accuracies in 0..1, work in dense passes, processor time in seconds."""
    dense = bench.dense.record
    return {
        "method": name,
        "family": METHODS[name].family,
        "iterative": METHODS[name].iterative,
        "seed": bench.down.seed,
        **{key: value for key, value in pruned.measures(bench.data.classes).items() if key not in _NOT_IN_ROWS},
        "dense_passes": passes,
        "seconds": seconds,
        "epochs": bench.epochs,
        "dense_macs": dense["macs"],
        "dense_val_accuracy": dense["val_accuracy"],
        "dense_test_accuracy": dense["test_accuracy"],
        "dense_worst_class_test_accuracy": dense["worst_class_test_accuracy"],
        "dataset": bench.data.dataset,
        "network": dense["network"],
        "image_size": dense["image_size"],
        "train_images": len(bench.data.split.train),
        "validation_images": len(bench.data.split.validation),
        "test_images": len(bench.data.split.test),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {bench.down.compute.device.type}",
        "commit": COMMIT,
    }


def show(progress: Progress) -> None:
    if progress.epoch % 10 == 0:
        print(f"dense {progress.epoch}/{progress.epochs} loss {progress.metrics['loss']:.3f}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the others end then, too
    sys.exit(main())
