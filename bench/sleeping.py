"""A trial that sleeps where the real one trains. Workers load this file, so it must not lead to torch."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray import tune

from sweep.front import hypervolume


def sleep_through(config: dict[str, Any], *, study: dict[str, Any]) -> None:
    """Report and write what `sweep.trial.run_trial` does, after sleeping.

    The first trials wait for each other: on one machine their processes take minutes to start, and Tune ends one that
    starts as soon as another is free.

    Args:
        config: Of the trial; its explored settings decide what the points are worth.
        study: `plan`, what to sleep and report: for each budget its epochs; `directory` of the study; `record` and
            `files` of every point; `budgets`; for `jitter` a share by which trials differ in length; and `places`, how
            many trials run at once.
    """
    trial = config["trial"]
    number = int(trial[1:])
    # Equal trials would end all at once, which real ones do not.
    pace = 1 + study["jitter"] * (number * 0.618 % 1 - 0.5)
    luck = sum(value for value in config.values() if isinstance(value, float)) * 7919 % 1
    points = Path(study["directory"]) / "points"
    if number < study["places"]:
        there = points.with_name("begun")
        there.mkdir(parents=True, exist_ok=True)
        (there / trial).touch()
        while len(list(there.iterdir())) < study["places"]:
            time.sleep(1.0)
    slept: list[tuple[float, float]] = []
    ratios: list[float] = []
    accuracies: list[float] = []
    for place, (budget, epochs) in enumerate(study["plan"], start=1):
        for epoch in epochs:
            begun = time.time()
            time.sleep(study["seconds"] * pace)
            slept.append((begun, time.time()))
            tune.report({"finished": False, "trial": trial, "budget": budget, **epoch})
        name = f"{trial}-{budget * 100:g}pct"
        ratios.append(budget * (1 - 0.02 * luck))
        accuracies.append(0.5 + 0.4 * budget**0.1 * (0.9 + 0.1 * luck))
        measures = {
            "budget": budget, "cost": "macs", "cost_ratio": ratios[-1], "macs_ratio": ratios[-1],
            "macs": int(study["record"]["macs"] * ratios[-1]), "val_accuracy": accuracies[-1],
            "recalibrated_val_accuracy": accuracies[-1], "test_accuracy": accuracies[-1], "polish_epochs": 0,
        }  # fmt: skip
        record = {**study["record"], **measures, "point": name, "trial": trial, "slept": slept}
        _write(points / name, record, study["files"])
        tune.report(
            {
                **measures,
                "trial": trial,
                "point": name,
                "points": place,
                "went_on": False,
                "step": epochs[-1]["step"],
                "hypervolume": hypervolume(ratios, accuracies, floor=min(study["budgets"])),
                "finished": place == len(study["plan"]),
            }
        )


def _write(directory: Path, record: dict[str, Any], files: dict[str, bytes]) -> None:
    partial = directory.with_name(f".{directory.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (partial / name).write_bytes(content)
    (partial / "point.json").write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(directory)
