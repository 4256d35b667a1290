"""Latency against MACs under ONNX Runtime: budgets of MACs, of MACs with round widths, and of latency.

    uv run bench/latency.py --networks resnet34,vgg16 --sizes 64,224 --out runs/latency

Each network has fresh weights, since only its shape matters here, and channels ranked by the L1 norm of their filters
over their cost. All files of a network are timed in turn, round after round, so that a busy moment hits all alike; the
table gives medians, and ratios to the dense network's. One thread, batch 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasprune.cost import macs_cost
from nasprune.costing import CostKind, cost_of
from nasprune.coupling import Coupling
from nasprune.criteria import Scaling, filter_norm
from nasprune.data.statistics import Statistics
from nasprune.export import export_onnx, onnx_session
from nasprune.latency import LatencyTable, latency_cost, measure
from nasprune.networks import NetworkSettings, build, couple
from nasprune.provenance import machine
from nasprune.scores import block_sizes, cut_at_budget
from nasprune.surgery import derive

WAYS: dict[str, tuple[CostKind, int]] = {
    "macs": ("macs", 1), "macs, multiples of 8": ("macs", 8), "latency, multiples of 8": ("latency", 8),
}  # fmt: skip
BUDGETS = (0.5, 0.25, 0.1)
PLAIN = Statistics(mean=(0.0, 0.0, 0.0), deviation=(1.0, 1.0, 1.0))


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
    rows = []
    for network in given.networks.split(","):
        for size in (int(text) for text in given.sizes.split(",")):
            settings = NetworkSettings(network=network, classes=given.classes, image_size=size)
            candidates = make(settings, given.out)
            rows += timed(settings, candidates, given.seconds)
            (given.out / "rows.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
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


def timed(settings: NetworkSettings, candidates: list[Candidate], seconds: float) -> list[dict[str, object]]:
    """Time all in turn."""
    image = np.random.default_rng(0).random((1, 3, settings.image_size, settings.image_size), dtype=np.float32)
    sessions = [onnx_session(each.path, threads=1) for each in candidates]
    times: list[list[float]] = [[] for _ in candidates]
    start = time.perf_counter()
    while len(times[0]) < 10 or time.perf_counter() - start < seconds:
        for session, kept in zip(sessions, times, strict=True):
            before = time.perf_counter()
            session.run(["logits"], {"image": image})
            kept.append(time.perf_counter() - before)
    medians = [1e3 * statistics.median(kept[2:]) for kept in times]
    rows: list[dict[str, object]] = []
    for each, median in zip(candidates, medians, strict=True):
        row = {
            "network": settings.network, "size": settings.image_size, "way": each.way, "budget": each.budget,
            "macs_ratio": each.macs_ratio, "ms": median, "faster": medians[0] / median,
            "predicted_ms": each.predicted_ms,
        }  # fmt: skip
        rows.append(row)
        print(
            f"| {settings.network} | {settings.image_size} | {each.way} | {each.budget:.0%} | {each.macs_ratio:.1%} | "
            f"{median:.2f} | {medians[0] / median:.1f} | {each.predicted_ms:.2f} |",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
