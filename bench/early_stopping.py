"""The same sweep of descents with and without early stopping: what it costs, and what front it reaches.

    uv run bench/early_stopping.py --seeds 0,1,2 --reduction-factor 2 --out runs/early-stopping

Runs `sweep/run.py` once each way for every seed (a study that is there is not run again) on generated scenes, or on
what the sweep's own flags after `--` say, and prints a table. Work is counted in passes of the dense network over the
training images, forward and backward, so it does not depend on what else the machine does; the dense network and its
answers, which all trials share, are left out. Validation images choose the front, and the best of many points on them
is too good to be true, the more points the more so: the hypervolume to compare is that of the same points on test
images. `--replay` adds what other factors would have done with the trials of
the sweeps without early stopping, in 1,000 random orders, and what whole trials reach for the same work: where settings
hardly differ, a smaller sweep does as well as one that is stopped. It also prints the rank correlations of trials'
validation accuracies at one budget with those at the others: where they are 0, stopping is blind.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pandas
import sqlalchemy
from optuna.trial import TrialState

from nasprune.descent import DescentSettings
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from sweep.front import hypervolume, on_front
from sweep.stopping import goes_on

ROOT = Path(__file__).resolve().parents[1]
SWEEP = ("--budgets", "0.5,0.25,0.1,0.05", "--trials", "16", "--search-epochs", "3", "--tune-epochs", "6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--reduction-factor", type=float, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/early-stopping"))
    parser.add_argument("--replay", help="factors, comma-separated")
    parser.add_argument("sweep", nargs="*", help="after --: flags of sweep/run.py", default=SWEEP)
    arguments = parser.parse_args()
    head = ("seed", "factor", "trials", "stopped", "points", "dense passes", "hypervolume, validation", "test")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    totals: dict[float, list[tuple[float, ...]]] = {}
    for seed in arguments.seeds.split(","):
        for factor in (1.0, arguments.reduction_factor):
            study = run(arguments.out, seed, factor, tuple(arguments.sweep))
            stopped, whole = states(study)
            points = json.loads((study / "front.json").read_text())["points"]
            figures = sum(passes(study, points).values()), *volumes(study, points)
            totals.setdefault(factor, []).append(figures)
            cells = (seed, f"{factor:g}", stopped + whole, stopped, len(points), f"{figures[0]:.1f}")
            print("| " + " | ".join(map(str, cells)) + f" | {figures[1]:.4f} | {figures[2]:.4f} |", flush=True)
    plain, early = (
        [sum(column) for column in zip(*totals[factor], strict=True)] for factor in (1.0, arguments.reduction_factor)
    )
    work, chosen, tested = (e / p for e, p in zip(early, plain, strict=True))
    print(
        f"\nwork {work:.0%}, hypervolume on validation {chosen:.2%} and on test {tested:.2%} of the sweeps without "
        "early stopping"
    )
    if arguments.replay:
        print("\n| factor | work | hypervolume, validation | test | in whole trials, validation | test |")
        print("|---|---|---|---|---|---|")
    studies = [arguments.out / f"seed{seed}-factor1" for seed in arguments.seeds.split(",")]
    for factor in map(float, arguments.replay.split(",") if arguments.replay else ()):
        stopped = [replayed(study, factor) for study in studies]
        whole = [in_whole_trials(study, shares[0]) for study, shares in zip(studies, stopped, strict=True)]
        means = [statistics.mean(column) for shares in (stopped, whole) for column in zip(*shares, strict=True)]
        print(f"| {factor:g} | {means[0]:.0%} | {' | '.join(f'{mean:.2%}' for mean in means[1:])} |", flush=True)
    if arguments.replay:
        for study in studies:
            print(f"\n{study.name}\n{rank_correlations(study)}")


def rank_correlations(study: Path) -> pandas.DataFrame:
    """Spearman's, of validation accuracies at each budget with those at each other, over whole trials."""
    points = pandas.DataFrame(json.loads((study / "front.json").read_text())["points"])
    accuracies = points.pivot_table("val_accuracy", "trial", "budget").sort_index(axis=1, ascending=False)
    return accuracies.rank().corr().round(2)


def replayed(study: Path, factor: float, orders: int = 1000) -> tuple[float, float, float]:
    """Work and hypervolumes, as shares of all trials', if the study's trials came in random orders with `factor`."""
    points = json.loads((study / "front.json").read_text())["points"]
    work = passes(study, points)
    trials = {point["trial"]: sorted_points(points, point["trial"]) for point in points}
    reached = {
        trial: [volumes(study, mine[: place + 1])[0] for place in range(len(mine))] for trial, mine in trials.items()
    }
    whole = sum(work.values()), *volumes(study, points)
    chance, shares = random.Random(0), []
    for _ in range(orders):
        before: list[list[float]] = [[] for _ in next(iter(reached.values()))]
        kept: list[dict[str, Any]] = []
        for trial in chance.sample(sorted(trials), len(trials)):
            for place, value in enumerate(reached[trial]):
                kept.append(trials[trial][place])
                others = before[place]
                goes = goes_on(value, others, factor)
                others.append(value)
                if not goes:
                    break
        figures = sum(work[point["point"]] for point in kept), *volumes(study, kept)
        shares.append([figure / of for figure, of in zip(figures, whole, strict=True)])
    means = [statistics.mean(column) for column in zip(*shares, strict=True)]
    return means[0], means[1], means[2]


def in_whole_trials(study: Path, work: float, orders: int = 1000) -> tuple[float, float]:
    """Hypervolumes, as shares of all trials', of random whole trials that are this share of their work."""
    points = json.loads((study / "front.json").read_text())["points"]
    trials = sorted({point["trial"] for point in points})
    whole, many = volumes(study, points), work * len(trials)
    chance, shares = random.Random(0), []
    for _ in range(orders):
        count = int(many) + (chance.random() < many % 1)
        taken = set(chance.sample(trials, max(1, count)))
        reached = volumes(study, [point for point in points if point["trial"] in taken])
        shares.append([figure / of for figure, of in zip(reached, whole, strict=True)])
    means = [statistics.mean(column) for column in zip(*shares, strict=True)]
    return means[0], means[1]


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


def sorted_points(points: list[dict[str, Any]], trial: str) -> list[dict[str, Any]]:
    """A trial's points on its way down."""
    return sorted((p for p in points if p["trial"] == trial), key=lambda p: -p["budget"])


def passes(study: Path, points: list[dict[str, Any]]) -> dict[str, float]:
    """Work for each point: search at the width before, tuning at the width after; not what all trials share."""
    settings = json.loads((study / "settings.json").read_text())
    how = DescentSettings(
        search=SearchSettings(epochs=settings["search_epochs"]),
        tuning=TrainingSettings(epochs=settings["tune_epochs"]),
        growth=settings["growth"],
    )
    work = {}
    for trial in {point["trial"] for point in points}:
        before = 1.0
        for point in sorted_points(points, trial):
            search, tune = how.epochs(point["budget"])
            work[point["point"]] = search * before + tune * point["macs_ratio"]
            before = point["macs_ratio"]
    return work


def volumes(study: Path, points: list[dict[str, Any]]) -> tuple[float, float]:
    """Hypervolume of the front that validation chooses, on validation and on test images."""
    floor = min(json.loads((study / "settings.json").read_text())["budgets"])
    front = on_front([p["macs_ratio"] for p in points], [p["val_accuracy"] for p in points])
    chosen = [point for point, kept in zip(points, front, strict=True) if kept]
    costs = [p["macs_ratio"] for p in chosen]
    validation = hypervolume(costs, [p["val_accuracy"] for p in chosen], floor=floor)
    return validation, hypervolume(costs, [p["test_accuracy"] for p in chosen], floor=floor)


if __name__ == "__main__":
    main()
