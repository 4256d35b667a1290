"""Which networks can be cut, exactly and how far: every torchvision CNN, 20 of timm, and torch-pruning beside.

    uv run --group bench --extra timm bench/networks.py --out runs/networks
    uv run --group bench --extra timm bench/networks.py --out runs/networks --table docs/networks.md

For each network, fresh weights that all matter, and a random cut at 50 % and at 20 % of the MACs, and at 20 % once more
from the network of the first cut, as a descent does it:

- law 1: the cut network gives the masked network's logits (largest difference over largest logit, float32);
- law 2: its MACs, as torch counts them, are those predicted; law 3: one more channel would exceed the budget;
- another process rebuilds it from its files and gives the same logits, and ONNX Runtime from the smaller cut's file;
- the torch-pruning package cuts the same network by as much (group magnitude, local): does the result still run?

One JSON file a network; running again does what is missing.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nasprune.artifact import write_artifact
from nasprune.compute import choose_compute
from nasprune.cost import Cost, macs_cost, measured_macs
from nasprune.coupling import Coupling
from nasprune.errors import NaspruneError
from nasprune.masking import MaskedNetwork
from nasprune.networks import NetworkSettings, build, count_parameters, couple, torchvision_names
from nasprune.proof import lively
from nasprune.record import ONNX
from nasprune.runtime import onnx_logits
from nasprune.scores import Cut, cut_at_budget
from nasprune.surgery import derive

CLASSES, SIDE = 10, 96
TRANSFORMERS = ("vit_", "swin_", "maxvit_")
TIMM = (
    "convnextv2_atto", "cspresnet50", "darknet53", "dla34", "dpn68", "edgenext_xx_small", "efficientnet_lite0",
    "fbnetc_100", "ghostnet_100", "hardcorenas_a", "hrnet_w18_small", "lcnet_050", "mixnet_s",
    "mobilenetv4_conv_small", "regnetz_b16", "repvgg_a0", "res2net50_26w_4s", "resnest14d", "seresnet18", "tinynet_e",
)  # fmt: skip
BUDGETS = (0.5, 0.2)
DIFFERENCES = ("difference", "onnx_difference", "reload_difference")
_CHANNEL_RATIOS = {0.5: 0.3, 0.2: 0.55}  # MACs fall about as the square of the widths


def convolutional() -> list[str]:
    """Names of all CNNs here: torchvision's without its transformers, and some of timm's."""
    vision = [name for name in torchvision_names() if not name.startswith(TRANSFORMERS)]
    return [*vision, *(f"timm:{name}" for name in TIMM)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="", help="names, separated by commas; empty for all")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/networks"))
    parser.add_argument("--table", type=Path, help="only write the table there")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in arguments.networks.split(",") if name] or convolutional()
    if arguments.table is None:
        choose_compute("cpu", threads=arguments.threads)
        for name in names:
            path = arguments.out / f"{name.replace(':', '_')}.json"
            if not path.exists():
                start = time.monotonic()
                row = {"network": name, **measure(name, arguments.out / "point"), **theirs(name)}
                row["seconds"] = round(time.monotonic() - start, 1)
                path.write_text(json.dumps(row, indent=1) + "\n")
                print(line(row), flush=True)
    rows = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*.json"))]
    if arguments.table is not None:
        arguments.table.write_text(table(rows))
    return 0


def settings_of(name: str) -> NetworkSettings:
    """Small images, so that a hundred networks take minutes."""
    return NetworkSettings(network=name, classes=CLASSES, image_size=SIDE)


def measure(name: str, point: Path) -> dict[str, Any]:
    """What this project makes of a network."""
    settings = settings_of(name)
    try:
        network = lively(build(settings))
        coupling = couple(network, settings)
        cost = macs_cost(coupling)
        least = float(cost(torch.ones_like(cost.sizes))) / cost.full
        row: dict[str, Any] = {
            "groups": len(coupling.groups), "channels": coupling.channels, "macs": cost.full, "least": least,
            "whole": dict(coupling.whole), "error": "",
        }  # fmt: skip
        cut = functools.partial(one_cut, settings, cost.full, least, point)
        half, smaller, after = cut(network, coupling, BUDGETS[0])
        row["cuts"] = [half, cut(network, coupling, BUDGETS[1])[0], cut(smaller, after, BUDGETS[1])[0]]
    except NaspruneError as error:
        return {"error": str(error), "cuts": []}
    return row


def one_cut(
    settings: NetworkSettings,
    full: int,
    least: float,
    point: Path,
    network: nn.Module,
    coupling: Coupling,
    budget: float,
) -> tuple[dict[str, Any], nn.Module, Coupling]:
    """The laws on one random cut, of which `budget` is the share of `full` MACs, and its files read back."""
    last, cost = budget == BUDGETS[-1], macs_cost(coupling)
    budget = min(1.0, max(budget, least * 1.05) * full / cost.full)
    scores = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(3))
    cut = cut_at_budget(scores, coupling.group_of, cost, budget)
    derived = derive(network, coupling, cut.kept)
    images = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        masked = MaskedNetwork(network, coupling)(images, cut.kept.float())
        logits = derived(images)
    shutil.rmtree(point, ignore_errors=True)
    write_artifact(point, derived, record(settings, coupling, cut, derived), onnx=last)
    row = {
        "budget": budget * cost.full / full,
        "macs_ratio": float(cut.cost) / full,
        "difference": relative(masked, logits),
        "macs_exact": measured_macs(derived, (3, SIDE, SIDE)) == round(float(cut.cost)),
        "tight": tight(coupling, cost, scores, cut, budget),
        "onnx_difference": relative(torch.from_numpy(onnx_logits(point / ONNX, images.numpy())), logits)
        if last
        else 0.0,
        "reload_difference": relative(reloaded(point, images), logits),
    }
    return row, derived, coupling.after(cut.kept)


def tight(coupling: Coupling, cost: Cost, scores: torch.Tensor, cut: Cut, budget: float) -> bool:
    """Law 3: within the budget, and not with the best dropped channel."""
    if bool(cut.kept.all()):
        return True
    widths = torch.tensor(list(coupling.widths(cut.kept).values()), dtype=torch.float64)
    dropped = torch.where(cut.kept, -torch.inf, scores).argmax()
    widths[coupling.group_of[dropped]] += 1
    return bool(cut.cost <= budget * cost.full * (1 + 1e-12)) and bool(cost(widths) > budget * cost.full)


def record(settings: NetworkSettings, coupling: Coupling, cut: Cut, derived: nn.Module) -> dict[str, Any]:
    """A point's record, with no data behind it."""
    return {
        "point": "random", "network": settings.network, "head": settings.head, "dataset": "none",
        "classes": [str(number) for number in range(CLASSES)], "image_size": SIDE, "bands": 3, "bit_depth": 8,
        "statistics": {"mean": [0.0] * 3, "deviation": [1.0] * 3}, "val_images": 0, "widths": coupling.widths(cut.kept),
        "macs": round(float(cut.cost)), "macs_ratio": 0.0, "params": count_parameters(derived), "val_accuracy": 0.0,
        "test_accuracy": 0.0, "test_confusion": {}, "worst_class_test_accuracy": 0.0, "data": {"bands": "rgb"},
        "provenance": {},
    }  # fmt: skip


_READER = """
import sys, torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from nasprune.artifact import read_artifact
for line in sys.stdin:
    point = Path(line.strip())
    with torch.no_grad():
        logits = read_artifact(point).network(load_file(point / "images.safetensors")["images"])
    save_file({"logits": logits}, point / "logits.safetensors")
    print("done", flush=True)
"""


@functools.cache
def reader() -> subprocess.Popen[str]:
    """A process that has seen none of the networks, and reads points from their files."""
    return subprocess.Popen([sys.executable, "-c", _READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def reloaded(point: Path, images: torch.Tensor) -> torch.Tensor:
    """Logits from the other process."""
    save_file({"images": images}, point / "images.safetensors")
    process = reader()
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the reader has no pipes")
    process.stdin.write(f"{point}\n")
    process.stdin.flush()
    if process.stdout.readline().strip() != "done":
        raise RuntimeError(f"the reader failed on {point}")
    return load_file(point / "logits.safetensors")["logits"]


def theirs(name: str) -> dict[str, Any]:
    """Whether torch-pruning cuts the network into one that runs, or what it says."""
    import torch_pruning as tp

    said = {}
    for budget in BUDGETS:
        network = lively(build(settings_of(name)))
        example = torch.rand(2, 3, SIDE, SIDE)
        heads = [
            module for module in network.modules()
            if getattr(module, "out_features", None) == CLASSES or getattr(module, "out_channels", None) == CLASSES
        ]  # fmt: skip
        try:
            pruner = tp.pruner.BasePruner(
                network, example, importance=tp.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=_CHANNEL_RATIOS[budget], ignored_layers=heads,
            )  # fmt: skip
            pruner.step()
            with torch.no_grad():
                ran = network(example).shape == (2, CLASSES)
            said[f"{budget:g}"] = "" if ran else "another output shape"
        except Exception as error:  # whatever it says is the result
            said[f"{budget:g}"] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return {"torch_pruning": said}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def passes(row: dict[str, Any]) -> bool:
    """All laws at all budgets."""
    return bool(row["cuts"]) and all(
        cut["macs_exact"]
        and cut["tight"]
        and all(cut[key] <= 1e-4 for key in DIFFERENCES)  # each, since `max` may pass over what is no number
        for cut in row["cuts"]
    )


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    name = row["network"]
    peer = "; ".join(sorted({text for text in row["torch_pruning"].values() if text})) or "runs"
    if row["error"]:
        return f"| {name} | no: {row['error']} | | | | | | | {peer} |"
    cuts = row["cuts"]
    worst = {key: max((cut[key] for cut in cuts), key=_or_worst) for key in DIFFERENCES}
    shares = " / ".join(f"{cut['macs_ratio']:.1%}" for cut in cuts)
    return (
        f"| {name} | {'yes' if passes(row) else 'NO'} | {row['groups']} | {row['channels']} | {1 - row['least']:.1%} | "
        f"{shares} | {worst['difference']:.0e} | {worst['onnx_difference']:.0e} | {peer.replace('|', '/')} |"
    )


def _or_worst(value: float) -> float:
    """What is no number is worse than any."""
    return math.inf if math.isnan(value) else value


def table(rows: list[dict[str, Any]]) -> str:
    """The page."""
    passed = [row for row in rows if passes(row)]
    peers = [row for row in rows if not any(row["torch_pruning"].values())]
    lost = [row["network"] for row in peers if not passes(row)]
    ratios = " and ".join(f"{ratio:g}" for ratio in _CHANNEL_RATIOS.values())
    fails = f"of which {len(lost)} fail here: {', '.join(lost)}" if lost else "none of which fails here"
    return f"""# Networks

Made by `uv run --group bench --extra timm bench/networks.py`, and again with `--table docs/networks.md`. Random cuts
at {BUDGETS[0]:.0%} and {BUDGETS[1]:.0%} of the MACs, and at {BUDGETS[1]:.0%} from the first of them, {SIDE} px,
{CLASSES} classes, random weights in which no channel is idle.

{len(passed)} of {len(rows)} pass all laws. torch-pruning cuts {len(peers)} of them into networks that run, {fails}.
A budget below the least that a network can cost is raised to 1.05 times that.

- *passes*: the cut network equals the masked one, torch counts exactly the predicted MACs, one more channel would
  exceed the budget, another process that reads its files and, for the smaller cuts, ONNX Runtime give the same logits
  (all within 1e-4).
- *prunable*: share of the MACs that goes when every group keeps one channel.
- *kept*: share of the MACs after the three cuts. *cut*, *ONNX*: largest difference of logits over the largest.
- *torch-pruning*: version 1.6.1, group magnitude, local, channel ratios {ratios}; whether the result runs, or its
  error.

| network | passes | groups | channels | prunable | kept | cut | ONNX | torch-pruning |
|---|---|---|---|---|---|---|---|---|
""" + "".join(f"{line(row)}\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
