"""Latency against MACs under ONNX Runtime: budgets of MACs, of MACs with round widths, and of latency.

    uv run bench/latency.py --networks resnet34,vgg16 --sizes 64,224 --out runs/latency

Each network has fresh weights, since only its shape matters here, and channels ranked by the L1 norm of their filters
over their cost. All files of a network are timed in turn, ten images each, round after round, so that a busy moment
hits all alike; the table gives medians, and ratios to the dense network's. One thread, batch 1. What is measured
already is not measured again; table and picture are made of all that lies in the folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nasprune.cost import macs_cost
from nasprune.costing import CostKind, cost_of
from nasprune.coupling import Coupling
from nasprune.criteria import Scaling, filter_norm
from nasprune.data.statistics import Statistics
from nasprune.export import export_onnx
from nasprune.latency import LatencyTable, latency_cost, measure
from nasprune.networks import NetworkSettings, build, couple
from nasprune.provenance import machine
from nasprune.runtime import onnx_session
from nasprune.scores import block_sizes, cut_at_budget
from nasprune.surgery import derive

WAYS: dict[str, tuple[CostKind, int]] = {
    "macs": ("macs", 1), "macs, multiples of 8": ("macs", 8), "latency, multiples of 8": ("latency", 8),
}  # fmt: skip
BUDGETS = (0.5, 0.25, 0.1)
Row = dict[str, Any]
WARM, IN_A_ROW = 2, 10  # runs of one network after those of another: not counted, counted
PLAIN = Statistics.none(3)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network to be timed."""

    way: str
    budget: float
    macs_ratio: float
    predicted_ms: float
    path: Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet34,vgg16")
    parser.add_argument("--sizes", default="64,224")
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing for each network and size")
    parser.add_argument("--out", type=Path, default=Path("runs/latency"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for network in given.networks.split(","):
        for size in (int(text) for text in given.sizes.split(",")):
            kept = given.out / f"rows-{network}-{size}.json"
            if kept.exists():
                continue
            settings = NetworkSettings(network=network, classes=given.classes, image_size=size)
            rows = timed(settings, make(settings, given.out), given.seconds)
            kept.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    found = [row for path in sorted(given.out.glob("rows-*.json")) for row in json.loads(path.read_text())["rows"]]
    print(table(found))
    draw(found, given.out / "latency.png")
    return 0


def make(settings: NetworkSettings, out: Path) -> list[Candidate]:
    """Dense and cut networks as files."""
    network = build(settings).eval()
    coupling = couple(network, settings)
    path = out / f"{settings.network}-{settings.image_size}-table.json"
    table = measure(coupling, report=lambda text: print(text, file=sys.stderr))
    table.write(path)
    dense = macs_cost(coupling).full
    found = [candidate("dense", 1.0, network, coupling, table, settings, dense, out)]
    for way, (kind, round_to) in WAYS.items():
        cost = cost_of(kind, coupling, network, table)
        blocks = block_sizes(coupling, round_to)
        scores = Scaling(coupling, cost, "global", 1.0)(filter_norm(network, coupling))
        for budget in BUDGETS:
            cut = cut_at_budget(scores, coupling.group_of, cost, budget, blocks)
            derived = derive(network, coupling, cut.kept)
            found.append(candidate(way, budget, derived, coupling.after(cut.kept), table, settings, dense, out))
    return found


def candidate(
    way: str, budget: float, network: nn.Module, coupling: Coupling, table: LatencyTable,
    settings: NetworkSettings, dense: float, out: Path,
) -> Candidate:  # fmt: skip
    """A network exported, with what its widths say of it."""
    path = out / f"{settings.network}-{settings.image_size}-{way.replace(', ', '-').replace(' ', '-')}-{budget:g}.onnx"
    export_onnx(network, PLAIN, settings.image_size, path, batch=1)
    return Candidate(
        way=way,
        budget=budget,
        macs_ratio=macs_cost(coupling).full / dense,
        predicted_ms=1e3 * latency_cost(coupling, table).full,
        path=path,
    )


def time_in_turn(sessions: list[Any], image: npt.NDArray[np.float32], seconds: float) -> list[float]:
    """Milliseconds of one run of each ONNX Runtime session: medians of ten runs in a row, round after round."""
    times: list[list[float]] = [[] for _ in sessions]
    start = time.perf_counter()
    while not times[0] or time.perf_counter() - start < seconds:
        for session, kept in zip(sessions, times, strict=True):
            for run in range(WARM + IN_A_ROW):
                before = time.perf_counter()
                session.run(["logits"], {"image": image})
                if run >= WARM:
                    kept.append(time.perf_counter() - before)
    return [1e3 * statistics.median(kept) for kept in times]


def timed(settings: NetworkSettings, candidates: list[Candidate], seconds: float) -> list[Row]:
    """Time all in turn."""
    image = np.random.default_rng(0).random((1, 3, settings.image_size, settings.image_size), dtype=np.float32)
    medians = time_in_turn([onnx_session(each.path, threads=1) for each in candidates], image, seconds)
    return [
        {
            "network": settings.network, "size": settings.image_size, "way": each.way, "budget": each.budget,
            "macs_ratio": each.macs_ratio, "ms": median, "faster": medians[0] / median,
            "predicted_ms": each.predicted_ms,
        }
        for each, median in zip(candidates, medians, strict=True)
    ]  # fmt: skip


def table(rows: list[Row]) -> str:
    """All rows as Markdown."""
    lines = [
        "| network | px | cost | budget | MACs share | ms | times faster | ms by the table |", "|" + "---|" * 8,
    ]  # fmt: skip
    lines += [
        f"| {r['network']} | {r['size']} | {r['way']} | {r['budget']:.0%} | {r['macs_ratio']:.1%} | {r['ms']:.2f} | "
        f"{r['faster']:.1f} | {r['predicted_ms']:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """Latency over MACs, one panel a network and size."""
    panels = sorted({(r["network"], r["size"]) for r in rows})
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.8), squeeze=False, layout="constrained")
    for panel, (network, size) in zip(axes[0], panels, strict=True):
        here = [r for r in rows if (r["network"], r["size"]) == (network, size)]
        dense = here[0]
        for (way, _), marker in zip(WAYS.items(), "os^", strict=True):
            line = [dense, *(r for r in here if r["way"] == way)]
            panel.plot(
                [100 * r["macs_ratio"] for r in line], [r["ms"] for r in line], marker + "-", ms=5, lw=1.2, label=way
            )
        least, most = min(r["macs_ratio"] for r in here), 1.0
        panel.plot(
            [100 * least, 100], [dense["ms"] * least, dense["ms"] * most], ":", color="0.6", label="proportional"
        )
        panel.set(xscale="log", yscale="log", title=f"{network}, {size} px", xlabel="MACs, % of dense")
        panel.grid(color="0.9")
    axes[0][0].set_ylabel("latency of one image, ms")
    axes[0][0].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
