"""Learned scores against plain criteria in the same pipeline: same dense network, data, tuning.

    uv run bench/scores.py --dataset ucm --data UCMerced_LandUse.zip --seeds 0,1,2 --out runs/bench-scores

One row a run goes to `rows.jsonl` in the output folder as soon as it is done; running again skips what is there
and prints the table. Accuracies in percent. "cut" is validation accuracy right after the cut, batch norm
re-calibrated; "tuned" the test accuracy after tuning.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from nasprune.compute import choose_compute
from nasprune.data import DataSettings, load
from nasprune.dense import DenseSettings, obtain_dense
from nasprune.networks import NetworkSettings
from nasprune.progress import Progress, Session
from nasprune.provenance import provenance
from nasprune.pruning import PruneSettings, prune
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings

# Method -> search settings, and whether tuning also gets the epochs that the search would take.
METHODS: dict[str, tuple[dict[str, Any], bool]] = {
    "learned": ({}, False),
    "taylor": ({"initial": "taylor", "epochs": 0}, False),
    "taylor, search epochs to tuning": ({"initial": "taylor", "epochs": 0}, True),
    "random": ({"initial": "random", "scale": "global", "epochs": 0}, False),
    "random, search epochs to tuning": ({"initial": "random", "scale": "global", "epochs": 0}, True),
    "taylor frozen under the search": ({"score_learning_rate": 0.0}, False),
    "naive (soft, constant, halves, log)": (
        {
            "mask": "soft",
            "initial": "constant",
            "scale": "global",
            "data": "halves",
            "cost_loss": "log",
            "cost_weight": 1.0,
        },
        False,
    ),
    "l1": ({"initial": "l1", "scale": "uniform", "epochs": 0}, False),
    "fpgm": ({"initial": "fpgm", "scale": "uniform", "epochs": 0}, False),
    "bn_scale": ({"initial": "bn_scale", "scale": "global", "epochs": 0}, False),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ucm")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--budgets", default="0.25,0.1")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", default="all", help="comma-separated numbers from the list, or all")
    parser.add_argument("--dense-epochs", type=int, default=60)
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--tune-epochs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--fractions", default="0.75,0.05,0.2", help="train, validation and test shares")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-scores"))
    arguments = parser.parse_args()
    methods = list(METHODS)
    if arguments.methods != "all":
        methods = [methods[int(number)] for number in arguments.methods.split(",")]
    rows_file = arguments.out / "rows.jsonl"
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
    done = {(row["method"], row["budget"], row["seed"]) for row in rows}
    fractions = [float(text) for text in arguments.fractions.split(",")]
    compute = choose_compute(arguments.device, threads=arguments.threads)
    for seed in (int(text) for text in arguments.seeds.split(",")):
        data = load(
            DataSettings(
                dataset=arguments.dataset,
                data=arguments.data,
                image_size=arguments.image_size,
                fractions=(fractions[0], fractions[1], fractions[2]),
                seed=seed,
            ),
            arguments.out / "data",
        )
        network = NetworkSettings(network=arguments.network, classes=len(data.classes), image_size=arguments.image_size)
        dense_settings = DenseSettings(
            network=network,
            training=TrainingSettings(epochs=arguments.dense_epochs),
            batch_size=arguments.batch_size,
            seed=seed,
        )
        dense = obtain_dense(arguments.out / "dense", dense_settings, data, compute, show)
        print(f"seed {seed}: dense test accuracy {dense.record['test_accuracy']:.2%}", flush=True)
        for budget in (float(text) for text in arguments.budgets.split(",")):
            for method in methods:
                if (method, budget, seed) in done:
                    continue
                given, longer = METHODS[method]
                epochs = arguments.tune_epochs + (arguments.search_epochs if longer else 0)
                settings = PruneSettings(
                    search=SearchSettings(**{"epochs": arguments.search_epochs, **given}),
                    tuning=TrainingSettings(epochs=epochs, learning_rate=0.03),
                    batch_size=arguments.batch_size,
                )
                pruned = prune(dense, data, budget, settings, compute, seed=seed, session=Session(None, show))
                row = {
                    "method": method, "budget": budget, "seed": seed, **pruned.measures(),
                    "dense_test_accuracy": dense.record["test_accuracy"], "provenance": provenance(compute),
                }  # fmt: skip
                rows.append(row)
                with rows_file.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(
                    f"{method:36} {budget:5} seed {seed}: cut {row['recalibrated_val_accuracy']:.1%} "
                    f"tuned {row['test_accuracy']:.1%} in {row['seconds']:.0f} s",
                    flush=True,
                )
    print(table(rows))
    return 0


def show(progress: Progress) -> None:
    if progress.phase == "dense" and progress.epoch % 10 == 0:
        print(f"dense {progress.epoch}/{progress.epochs} loss {progress.metrics['loss']:.3f}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    lines = ["| method | " + " | ".join(f"{b:.0%} cut | {b:.0%} tuned" for b in budgets) + " | s a run |"]
    lines.append("|---|" + "---|" * (2 * len(budgets) + 1))
    for method in METHODS:
        cells = []
        for budget in budgets:
            for key in ("recalibrated_val_accuracy", "test_accuracy"):
                values = [100 * r[key] for r in rows if r["method"] == method and r["budget"] == budget]
                cells.append(spread(values))
        seconds = [r["seconds"] for r in rows if r["method"] == method]
        if seconds:
            lines.append(f"| {method} | " + " | ".join(cells) + f" | {statistics.mean(seconds):.0f} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if not values:
        return ""
    mean = statistics.mean(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    sys.exit(main())
