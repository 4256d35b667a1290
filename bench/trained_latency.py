"""Accuracy against latency: descents down budgets of MACs beside descents down budgets of latency, and INT8 beside.

    uv run bench/trained_latency.py --dense runs/shared/dense/KEY --data-dir runs/shared/data --out runs/trained-latency

All start from one dense network with the same epochs a budget and widths in multiples of 8. Every point is shipped
(`nasprune.shipping`) and accuracy is that of the file itself on the test images. All files are timed at the end, in
turn, so that a busy moment hits all alike: one thread, batch 1, medians. What is there is not made again, and several
processes on one folder share the work; `--table` only times and draws what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import results
from filelock import FileLock, Timeout
from latency import time_in_turn

from nasprune.answers import obtain_answers
from nasprune.artifact import Artifact, load_data, network_settings, read_artifact, write_artifact
from nasprune.compute import choose_compute
from nasprune.costing import CostKind
from nasprune.data import SceneData
from nasprune.descent import DescentSettings
from nasprune.latency import LatencyTable, measure, read_table
from nasprune.networks import couple
from nasprune.provenance import provenance
from nasprune.record import BOARD_FILES, BOARD_REPORT, OF_DENSE, read_record
from nasprune.runtime import onnx_session
from nasprune.scene_descent import descent_from
from nasprune.search import SearchSettings
from nasprune.session import Session
from nasprune.shipping import ship
from nasprune.training import TrainingSettings

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", type=Path, required=True, help="folder of the dense network")
    parser.add_argument("--data-dir", type=Path, required=True, help="where packed data sets are")
    parser.add_argument("--macs", default="0.5,0.25,0.1,0.05,0.02", help="budgets of MACs")
    parser.add_argument("--latency", default="0.6,0.4,0.25,0.15,0.08", help="budgets of latency")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--search-epochs", type=int, default=8)
    parser.add_argument("--tune-epochs", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="of timing at the end")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/trained-latency"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    dense = read_artifact(given.dense)
    if not given.table:
        same = {name: getattr(given, name) for name in ("search_epochs", "tune_epochs", "batch_size")}
        results.claim(given.out, same | {"dense": given.dense.resolve().name})
        data = load_data(dense.record, given.data_dir)
        table = table_of(dense, given.out / "table.json")
        for seed in map(int, given.seeds.split(",")):
            for kind in ("macs", "latency"):
                go_down(given, kind, seed, dense, data, table)
    rows = timed(dense, given.out, given.seconds)
    (given.out / "rows.json").write_text(json.dumps(rows))
    print(as_table(rows))
    print(verdict(rows))
    draw(rows, given.out / "trained_latency.png")
    return 0


def table_of(dense: Artifact, path: Path) -> LatencyTable:
    """Times of the dense network's layers on this machine, measured once."""
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            measure(couple(dense.network, network_settings(dense.record))).write(path)
    return read_table(path)


def go_down(
    given: argparse.Namespace, kind: CostKind, seed: int, dense: Artifact, data: SceneData, table: LatencyTable
) -> None:
    """One descent, from where it is; left to the process that is at it."""
    budgets = [float(text) for text in getattr(given, kind).split(",")]
    places = [given.out / "points" / f"{kind}-{seed}-{budget:g}" for budget in budgets]
    try:
        with FileLock(given.out / f"{kind}-{seed}.lock", timeout=0):
            compute = choose_compute("cpu", threads=given.threads)
            settings = DescentSettings(
                search=SearchSettings(epochs=given.search_epochs),
                tuning=TrainingSettings(epochs=given.tune_epochs, learning_rate=0.03),
                growth=0.0, cost=kind, round_to=8, batch_size=given.batch_size,
            )  # fmt: skip
            answers = obtain_answers(given.out / "answers", dense, data, settings, compute)
            descent = descent_from(dense, data, settings, compute, answers=answers, seed=seed, table=table)
            origin = provenance(compute)
            done = sum(place.exists() for place in places)
            last = read_artifact(places[done - 1]) if done else None
            reached = (last.network, last.record["widths"]) if last else None

            def session(budget: float) -> Session:
                return Session(given.out / "checkpoints" / f"{kind}-{seed}-{budget:g}")

            for pruned in descent.through(budgets[done:], session, reached=reached):
                place = places[budgets.index(pruned.budget)]
                record = {
                    **{key: dense.record[key] for key in (*OF_DENSE, "data")}, "point": place.name, "seed": seed,
                    **pruned.measures(data.classes), "provenance": origin,
                }  # fmt: skip
                write_artifact(place, pruned.network, record, onnx=False)
                print(f"{place.name}: {pruned.macs_ratio:.1%} of the MACs, test {pruned.test_accuracy:.1%}", flush=True)
            for place in (*places, given.dense):
                target = given.out / "files" / (place.name if place in places else "dense")
                if not (target / BOARD_REPORT).exists():
                    ship(read_artifact(place), data, target)
    except Timeout:
        return


def timed(dense: Artifact, out: Path, seconds: float) -> list[Row]:
    """A row for every point that is shipped, the dense network first."""
    folders = sorted(out.glob(f"files/*/{BOARD_REPORT}"), key=lambda path: (path.parent.name != "dense", path))
    pixels = dense.record["image_size"]
    image = np.random.default_rng(0).random((1, 3, pixels, pixels), dtype=np.float32)
    sessions = [onnx_session(path.parent / name, threads=1) for path in folders for name in BOARD_FILES.values()]
    medians = iter(time_in_turn(sessions, image, seconds))
    rows = []
    for path in folders:
        name, report = path.parent.name, json.loads(path.read_text())
        record = dense.record if name == "dense" else read_record(out / "points" / name)
        row = {"cost": record.get("cost", "dense"), "budget": record.get("budget", 1.0), "seed": record.get("seed", 0)}
        row |= {"macs_ratio": record["macs_ratio"], "torch_accuracy": record["test_accuracy"]}
        for precision in BOARD_FILES:
            row |= {
                f"{precision}_ms": next(medians),
                f"{precision}_accuracy": report[precision]["test_accuracy"],
                f"{precision}_bytes": report[precision]["bytes"],
            }
        rows.append(row)
    return rows


def means(rows: list[Row]) -> list[Row]:
    """Means over seeds of each cost and budget."""
    keys = list(dict.fromkeys((row["cost"], row["budget"]) for row in rows))
    found = []
    for cost, budget in sorted(keys, key=lambda key: (key[0] != "dense", key[0] != "macs", -key[1])):
        same = [row for row in rows if (row["cost"], row["budget"]) == (cost, budget)]
        numbers = [key for key in same[0] if key not in ("cost", "budget", "seed")]
        mean = {key: statistics.mean(row[key] for row in same) for key in numbers}
        found.append({"cost": cost, "budget": budget, "seeds": len(same), **mean})
    return found


def as_table(rows: list[Row]) -> str:
    """Means over seeds as Markdown."""
    lines = [
        "| cost | budget | seeds | MACs | float32: test | ms | MB | INT8: test | ms | MB |", "|" + "---|" * 10,
    ]  # fmt: skip
    lines += [
        f"| {r['cost']} | {r['budget']:.0%} | {r['seeds']} | {r['macs_ratio']:.1%} | "
        + " | ".join(
            f"{100 * r[f'{p}_accuracy']:.1f} | {r[f'{p}_ms']:.3f} | {r[f'{p}_bytes'] / 1e6:.2f}" for p in BOARD_FILES
        )
        + " |"
        for r in means(rows)
    ]
    return "\n".join(lines)


def verdict(rows: list[Row]) -> str:
    """For each budget of MACs, how long budgets of latency take for the same accuracy, interpolated between two."""
    lines = []
    for precision in BOARD_FILES:
        ms, accuracy = f"{precision}_ms", f"{precision}_accuracy"
        rivals = sorted((r for r in means(rows) if r["cost"] == "latency"), key=lambda r: r[ms])
        reached = np.maximum.accumulate([r[accuracy] for r in rivals])
        for row in (row for row in means(rows) if row["cost"] == "macs"):
            given = f"{precision}, {row['budget']:.0%} of the MACs, {row[accuracy]:.1%} in {row[ms]:.3f} ms"
            if not reached[0] <= row[accuracy] <= reached[-1]:
                lines.append(f"{given}: budgets of latency reach from {reached[0]:.1%} to {reached[-1]:.1%}")
                continue
            same = np.exp(np.interp(row[accuracy], reached, np.log([r[ms] for r in rivals])))
            lines.append(f"{given}: {same:.3f} ms down budgets of latency, {row[ms] / same:.2f} times as fast")
        pairs = [(r[accuracy], r["float32_accuracy"]) for r in rows]
        lines.append(f"{precision}: largest loss of accuracy to float32 {max(b - a for a, b in pairs):.2%}")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Test accuracy over latency, means and single seeds."""
    figure, axes = plt.subplots(1, len(BOARD_FILES), figsize=(9, 3.8), sharey=True, layout="constrained")
    for panel, precision in zip(axes, BOARD_FILES, strict=True):
        for cost, marker, colour in (("macs", "o", "C0"), ("latency", "^", "C2"), ("dense", "s", "0.4")):
            line = [r for r in means(rows) if r["cost"] == cost]
            single = [r for r in rows if r["cost"] == cost]
            ms, accuracy = f"{precision}_ms", f"{precision}_accuracy"
            label = cost if cost == "dense" else f"budgets of {'MACs' if cost == 'macs' else 'latency'}"
            panel.plot(
                [r[ms] for r in line], [100 * r[accuracy] for r in line], f"{marker}-", color=colour, label=label
            )
            panel.plot(
                [r[ms] for r in single], [100 * r[accuracy] for r in single], marker, color=colour, ms=3, alpha=0.4
            )
        panel.set(xscale="log", title=precision, xlabel="latency of one image, ms")
        panel.grid(color="0.9")
    axes[0].set_ylabel("test accuracy, %")
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
