"""A sweep on three hosts, and what happens to it when parts of it are killed in its middle. Needs root on Linux.

    uv run bench/reliability.py --out runs/reliability

The hosts (a head and two workers, `tests/system/hosts.py`) are this machine's namespaces with their own networks and
processes, launched with `clusters/local.yaml`; an MLflow server on PostgreSQL runs outside of them, the storage is a
folder that all see. For each case a new study begins, is hurt with kill -9 once a third of its epochs are reported, and
is compared with one that nobody hurt. `--cases` takes some of them; rows add up in OUT/rows.jsonl, `--table` prints
them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from deaths import CASES, UNDISTURBED, dense
from stage import EPOCHS, TRIALS, Bench, Sweep, parts

from tests.servers import postgres_programs
from tests.system.hosts import missing


def run(bench: Bench, name: str, out: Path) -> None:
    """One case; its row is added to those of OUT."""
    what, hurt = CASES[name]
    study = name if name == UNDISTURBED else f"{name}-{int(time.time())}"
    sweep = Sweep(bench.cluster, study, bench.server.uri)
    if hurt is dense:
        shutil.rmtree(bench.cluster.storage / "shared" / "dense")  # or there would be nothing to train
    begun = time.monotonic()
    sweep.start()
    hurt_at = 0
    if hurt is not None:
        if hurt is not dense:
            sweep.until(EPOCHS // 3)
        hurt_at = int(time.time() * 1000)
        hurt(bench, sweep)
    sweep.join()
    if "not in MLflow" in sweep.said:  # as that line says
        sweep.start()
        sweep.join()
    for host in bench.cluster.hosts:
        if host.alive():
            host.mend()
            host.shell("rm -f /tmp/ray/full")
    told = sweep.epochs()
    times = Counter((trial, step) for _, trial, step in told)
    row: dict[str, Any] = {
        "case": name, "what": what, "code": sweep.code, "sessions": sweep.sessions, "seconds": time.monotonic() - begun,
        "epochs": len(times), "redone": sum(times.values()) - len(times), "hurt_at": hurt_at, "told": told,
        "said": [line for line in sweep.said.splitlines() if _worth_telling(line)],
    }  # fmt: skip
    rows, runs, records, models = bench.rows(study), bench.runs(study), bench.records(study), bench.models(study)
    kept = out / f"{UNDISTURBED}.json"
    if hurt is None:
        kept.write_text(json.dumps({"rows": sorted(rows), "front": bench.front(study), "models": models}))
    reference = json.loads(kept.read_text())
    expected = {tuple(key) for key in reference["rows"]}
    row |= {
        "rows": len(expected),
        "lost": len(expected - set(rows)),
        "doubled": sum(rows.values()) - len(rows),
        "once": len(runs) == TRIALS + 1
        and {status for _, status in runs} == {"FINISHED"}
        and records == {"COMPLETE": TRIALS}
        and models == reference["models"],
        "records": records,
        "models": models,
        "unknown": len(set(rows) - expected),
        "statuses": Counter(status for _, status in runs),
        "same_front": json.loads(json.dumps(bench.front(study))) == reference["front"],
    }
    with (out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps({**row, "told": len(told)}), flush=True)
    shutil.rmtree(bench.cluster.storage / study)  # all cases together would fill the storage's disk


def _silence(told: list[tuple[int, str, int]], hurt_at: int) -> float:
    """The longest time, in seconds, that a trial reported no new epoch, of those times that end after the kill."""
    longest = 0.0
    for name in {trial for _, trial, _ in told}:
        newest, last = 0, 0
        for at, trial, step in told:
            if trial == name and step > newest:
                if at > hurt_at:
                    longest = max(longest, (at - (last or hurt_at or at)) / 1000)
                newest, last = step, at
    return longest


def _worth_telling(line: str) -> bool:
    return any(
        word in line for word in ("error", "failed", "does not answer", "not in MLflow", "unfinished", "begins again")
    )


def table(out: Path) -> None:
    """Print what is there, the last of each case."""
    if not (out / "rows.jsonl").exists():
        sys.exit(f"error: no row in {out}; run without --table first")
    rows = {row["case"]: row for row in map(json.loads, (out / "rows.jsonl").read_text().splitlines())}
    head = (
        "killed", "epochs redone", "longest silence of a trial, s", "rows lost", "rows doubled",
        "each trial, run and model once, finished", "same front", "sweep, s",
    )  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in (rows[name] for name in CASES if name in rows):
        cells = (
            row["what"],
            f"{row['redone']} of {row['epochs']}",
            f"{_silence(row['told'], row['hurt_at']):.1f}",
            f"{row['lost']} of {row['rows']}",
            row["doubled"],
            "yes" if row["once"] else "NO",
            "yes" if row["same_front"] else "NO",
            f"{row['seconds']:.0f}",
        )
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, default=Path("runs/reliability"))
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    options = parser.parse_args()
    wrong = [name for name in options.cases.split(",") if name not in CASES]
    if wrong:  # before minutes of beginning
        sys.exit(f"error: case '{wrong[0]}' given; expected of {', '.join(CASES)}")
    if not options.table:
        why_not = missing() or ("" if postgres_programs() else "PostgreSQL is not installed")
        if why_not:
            sys.exit(f"error: {why_not}")
        options.out.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # all parts are taken down then, too
        with parts() as bench:
            for name in options.cases.split(","):
                run(bench, name, options.out)
    table(options.out)


if __name__ == "__main__":
    main()
