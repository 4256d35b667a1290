"""Rows of `peers.py`: kept as Parquet, shown as a table and a picture."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nasprune.files import locked, write_json
from sweep.front import hypervolume

Row = dict[str, Any]


def path(out: Path, method: str, seed: int, budget: float) -> Path:
    """The file of one row."""
    digest = hashlib.sha256(f"{method}|{seed}|{budget:g}".encode()).hexdigest()[:16]
    return out / "rows" / f"{digest}.parquet"


def claim(out: Path, settings: Row) -> None:
    """Make sure that all rows of a folder are of one experiment; what earlier rows do not say is taken for the same."""
    file = out / "settings.json"
    with locked(file):  # several processes may begin at once
        kept = json.loads(file.read_text()) if file.exists() else {}
        changed = ", ".join(f"{key} {kept[key]}" for key in settings if key in kept and kept[key] != settings[key])
        if changed:
            raise SystemExit(f"{out} holds rows made with {changed}; give the same settings, or another --out")
        if kept != kept | settings:
            write_json(file, kept | settings)


def keep(out: Path, row: Row) -> None:
    """Write a row, whole or not at all."""
    target = path(out, row["method"], row["seed"], row["budget"])
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist([{**row, "widths": json.dumps(row["widths"])}]), partial)
    partial.replace(target)


def read(out: Path) -> list[Row]:
    """All rows."""
    return [pq.read_table(file).to_pylist()[0] for file in sorted((out / "rows").glob("*.parquet"))]


def widths(out: Path, method: str, seed: int, budget: float) -> dict[str, int]:
    """The widths of one row."""
    file = path(out, method, seed, budget)
    found: dict[str, int] = json.loads(pq.read_table(file).to_pylist()[0]["widths"])
    return found


def write(out: Path, order: Sequence[str]) -> None:
    """The table and the picture of all rows, also printed."""
    rows = read(out)
    if not rows:
        raise SystemExit(f"no row in {out}: run without --table first")
    text = f"{table(rows, order)}\n\n{worst_classes(rows, order)}"
    (out / "table.md").write_text(text + "\n")
    draw(rows, order, out / "peers.png")
    print(text)


def table(rows: Sequence[Row], order: Sequence[str]) -> str:
    """Test accuracy at each budget, mean and deviation over seeds; in brackets validation right after the cut."""
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    first = rows[0]
    lines = [
        f"{first['network']} on {first['dataset']} at {first['image_size']} px; {first['train_images']} training, "
        f"{first['validation_images']} validation, {first['test_images']} test images; dense: validation "
        f"{100 * first['dense_val_accuracy']:.1f}, test {100 * first['dense_test_accuracy']:.1f}; {first['epochs']} "
        f"epochs a budget; {first['machine']}; commits {', '.join(sorted({row['commit'][:7] for row in rows}))}",
        "",
        "| method | seeds | " + " | ".join(f"{b:.0%}" for b in budgets) + " | hypervolume | dense passes | CPU min |",
        "|---|---|" + "---|" * (len(budgets) + 3),
    ]
    for method in order:
        mine = [row for row in rows if row["method"] == method]
        if not mine:
            continue
        seeds = sorted({row["seed"] for row in mine})
        cells, fewer = [], ""
        for budget in budgets:
            here = [row for row in mine if row["budget"] == budget]
            fewer += f", at {budget:.0%} {len(here)}" if len(here) < len(seeds) else ""
            cut = [100 * row["recalibrated_val_accuracy"] for row in here]
            cells.append(f"{spread([100 * row['test_accuracy'] for row in here])} ({mean(cut)})" if here else "")
        whole = [[row for row in mine if row["seed"] == seed] for seed in seeds]
        whole = [run for run in whole if len(run) == len(budgets)]
        volumes = [
            hypervolume([r["macs_ratio"] for r in run], [r["test_accuracy"] for r in run], floor=budgets[-1])
            for run in whole
        ]
        passes = [sum(row["dense_passes"] for row in run) for run in whole]
        minutes = [sum(row["seconds"] for row in run) / 60 for run in whole]
        figures = [*cells, spread(volumes, 3), mean(passes), mean(minutes)]
        lines.append(f"| {method} | {len(seeds)}{fewer} | {' | '.join(figures)} |")
    return "\n".join(lines)


def worst_classes(rows: Sequence[Row], order: Sequence[str]) -> str:
    """Test accuracy of the class that fares worst, at each budget, mean and deviation over seeds."""
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    lines = [
        f"the worst class alone; dense: {100 * rows[0]['dense_worst_class_test_accuracy']:.1f}",
        "",
        "| method | " + " | ".join(f"{b:.0%}" for b in budgets) + " |",
        "|---|" + "---|" * len(budgets),
    ]
    for method in order:
        mine = [row for row in rows if row["method"] == method]
        worst = [[100 * row["worst_class_test_accuracy"] for row in mine if row["budget"] == b] for b in budgets]
        if mine:
            lines.append(f"| {method} | {' | '.join(map(spread, worst))} |")
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and, of several, standard deviation."""
    if not values:
        return ""
    middle = f"{statistics.mean(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ± {statistics.stdev(values):.{digits}f}"


def mean(values: Sequence[float]) -> str:
    """Mean alone."""
    return f"{statistics.mean(values):.1f}" if values else ""


def draw(rows: Sequence[Row], order: Sequence[str], target: Path) -> None:
    """Mean test accuracy over MACs; ours drawn strong, of the others the best ones named."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    budgets = sorted({row["budget"] for row in rows})
    figure = Figure(figsize=(10, 5), dpi=140)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.07, 0.11, 0.56, 0.8))
    strong = {"descent": "#1f4e79", "descent, same epochs": "#7aa6d1", "target": "#2a9d8f"}
    shades = iter(("#c1440e", "#d98e04", "#8a5a9e", "#7f7f7f", "#b58863", "#5b7553", "#a05252", "#4d4d4d"))
    shown = [name for name in order if sum(r["method"] == name for r in rows) >= len(budgets)]
    others = sorted((n for n in shown if n not in strong), key=lambda n: -_total(rows, n))
    for name in [*(n for n in shown if n in strong), *others[:8]]:
        x, y, low, high = [], [], [], []
        for budget in budgets:
            values = [100 * r["test_accuracy"] for r in rows if r["method"] == name and r["budget"] == budget]
            if values:
                x.append(budget)
                y.append(statistics.mean(values))
                low.append(min(values))
                high.append(max(values))
        colour = strong.get(name) or next(shades)
        width = 2.6 if name == "descent" else 1.3
        axes.plot(x, y, marker="o", ms=5 if name == "descent" else 3.5, lw=width, color=colour, label=name)
        if name == "descent":
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    dense = 100 * rows[0]["dense_test_accuracy"]
    axes.axhline(dense, color="#444", lw=1, ls=(0, (5, 4)))
    axes.text(budgets[0], dense + 0.2, f"dense {dense:.1f} %", fontsize=8, color="#444")
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{100 * b:g} %" for b in budgets])
    axes.minorticks_off()
    best = max(100 * r["test_accuracy"] for r in rows)
    axes.set_ylim(max(0.0, dense - 20), best + 2)
    axes.set_xlabel("share of the dense network's multiply-adds")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(f"{rows[0]['network']} on {rows[0]['dataset']}, {rows[0]['image_size']} px", loc="left")
    axes.grid(color="#e3e6ea")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7.5, frameon=False)
    figure.savefig(target)


def _total(rows: Sequence[Row], method: str) -> float:
    return statistics.mean(row["test_accuracy"] for row in rows if row["method"] == method)
