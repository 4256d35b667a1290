"""The same sweep of descents with and without early stopping: what it costs, and what front it reaches.

    uv run bench/early_stopping.py --seeds 0,1,2 --reduction-factor 4 --out runs/early-stopping

Runs `sweep/run.py` once each way for every seed (a study that is there is not run again) on generated scenes, or on
what the sweep's own flags after `--` say, and prints a table. Work is counted in passes of the dense network over the
training images, forward and backward, so it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import TrialState

from nasprune.descent import DescentSettings
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from sweep.front import hypervolume

ROOT = Path(__file__).resolve().parents[1]
SWEEP = ("--budgets", "0.5,0.25,0.1,0.05", "--trials", "16", "--search-epochs", "3", "--tune-epochs", "6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--reduction-factor", type=float, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/early-stopping"))
    parser.add_argument("sweep", nargs="*", help="after --: flags of sweep/run.py", default=SWEEP)
    arguments = parser.parse_args()
    head = ("seed", "factor", "trials", "stopped", "points", "dense passes", "hypervolume", "of the best trial alone")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    totals: dict[float, list[tuple[float, float]]] = {}
    for seed in arguments.seeds.split(","):
        for factor in (1.0, arguments.reduction_factor):
            study = run(arguments.out, seed, factor, tuple(arguments.sweep))
            stopped, whole = states(study)
            points = json.loads((study / "front.json").read_text())["points"]
            work, volume = passes(study, points), hv(study, points)
            alone = max(hv(study, [p for p in points if p["trial"] == trial]) for trial in {p["trial"] for p in points})
            totals.setdefault(factor, []).append((work, volume))
            cells = (seed, f"{factor:g}", stopped + whole, stopped, len(points), f"{work:.1f}", f"{volume:.4f}")
            print("| " + " | ".join(map(str, cells)) + f" | {alone:.4f} |", flush=True)
    plain, early = (list(zip(*totals[factor], strict=True)) for factor in (1.0, arguments.reduction_factor))
    print(
        f"\nwork {sum(early[0]) / sum(plain[0]):.0%}, hypervolume {sum(early[1]) / sum(plain[1]):.2%} "
        "of the sweeps without early stopping"
    )


def run(out: Path, seed: str, factor: float, flags: tuple[str, ...]) -> Path:
    """A study's folder, after the study."""
    name = f"seed{seed}-factor{factor:g}"
    more = ("--seed", seed, "--reduction-factor", f"{factor:g}", "--study", name, "--storage", str(out))
    done = subprocess.run(
        [sys.executable, str(ROOT / "sweep" / "run.py"), *flags, *more], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return out / name


def states(study: Path) -> tuple[int, int]:
    """How many trials Optuna was told to be stopped, and whole."""
    url = sqlalchemy.URL.create("sqlite", database=str(study / "optuna.db")).render_as_string()
    trials = optuna.load_study(study_name="nasprune", storage=url).trials
    return sum(t.state is TrialState.PRUNED for t in trials), sum(t.state is TrialState.COMPLETE for t in trials)


def passes(study: Path, points: list[dict[str, Any]]) -> float:
    """Work of all trials: search at the width before, tuning at the width after, the teacher once a view."""
    settings = json.loads((study / "settings.json").read_text())
    how = DescentSettings(
        search=SearchSettings(epochs=settings["search_epochs"]),
        tuning=TrainingSettings(epochs=settings["tune_epochs"]),
        growth=settings["growth"],
    )
    total = 0.0
    for trial in {point["trial"] for point in points}:
        before, views = 1.0, 0
        for point in sorted((p for p in points if p["trial"] == trial), key=lambda p: -p["budget"]):
            search, tune = how.epochs(point["budget"])
            asked = max(views, min(search + tune, how.views))
            total += search * before + tune * point["macs_ratio"] + (asked - views) / 3
            before, views = point["macs_ratio"], asked
    return total


def hv(study: Path, points: list[dict[str, Any]]) -> float:
    """Hypervolume of points on validation images."""
    floor = min(json.loads((study / "settings.json").read_text())["budgets"])
    return hypervolume([p["macs_ratio"] for p in points], [p["val_accuracy"] for p in points], floor=floor)


if __name__ == "__main__":
    main()
