"""Sixteen trials, then sixteen studies, writing at once to one MLflow server on PostgreSQL: the cost, and the losses.

    uv run bench/tracking.py --out runs/tracking

Whole studies of `bench/scale.py` (Ray, Optuna, tracking and the front as they are, trials that sleep) against a real
server, one that answers a second late, one that is killed while the trials run, and none. Every call of the tracker is
timed in the driver; rows are counted in PostgreSQL afterwards. Needs PostgreSQL's programs on this machine.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers import Gate, Postgres, Server, postgres_programs  # noqa: E402
from tests.sweep.example_points import write_point  # noqa: E402

CALLS = ("trial_started", "trial_metrics", "trial_ended", "point", "front")
COUNT = """
SELECT count(*), count(DISTINCT (m.run_uuid, m.key, m.step)), count(DISTINCT m.run_uuid)
FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid AND t.key = 'nasprune.study'
WHERE t.value LIKE '{study}%' AND m.key ~ '^(search|tune)_'
"""
KINDS = {
    "none": "no tracking", "answers": "the server answers", "late": "every request answered 1 s late",
    "killed": "the server is killed half way",
}  # fmt: skip
STUDIES = "studies"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--studies", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of a trial")
    parser.add_argument("--epochs", type=int, default=20, help="at each of three budgets")
    cases = (*KINDS, STUDIES)
    parser.add_argument("--cases", default=",".join(cases), help=f"of {', '.join(cases)}")
    parser.add_argument("--out", type=Path, default=Path("runs/tracking"))
    parser.add_argument("--drive", help=argparse.SUPPRESS)  # one study, in a process of its own
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    wrong = [name for name in options.cases.split(",") if name not in cases]
    if wrong:
        sys.exit(f"error: case '{wrong[0]}' given; expected of {', '.join(cases)}")
    if options.drive == "study":
        drive_study(options)
    elif options.drive:
        drive_tracker(options)
    elif postgres_programs() is None:
        sys.exit("error: PostgreSQL is not installed; expected its initdb and postgres, as of Debian's postgresql")
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """All cases, one after the other, on one server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # all servers end then, too
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    postgres = Postgres()
    postgres.start()
    server = Server(postgres.uri, options.out.absolute() / "files")
    server.start()
    print(f"{options.trials} trials at once of {options.seconds:g} s and {3 * options.epochs} epochs, one driver\n")
    head = (
        "server", "sweep, s", "tracker calls a trial", "in them, s", "share of its life", "longest call, ms",
        "undelivered at the end", "rows expected", "rows lost", "rows doubled",
    )  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    try:
        cases = options.cases.split(",")
        for kind in (kind for kind in KINDS if kind in cases):
            row = one_driver(options, kind, options.out / kind, server, postgres)
            print("| " + " | ".join(row) + " |", flush=True)
        if STUDIES in cases:
            many_drivers(options, server, postgres)
    finally:
        server.kill()
        postgres.remove()


def one_driver(
    options: argparse.Namespace, kind: str, out: Path, server: Server, postgres: Postgres
) -> tuple[str, ...]:
    """A study of sleeping trials; gives its row."""
    uri, gate = server.uri, None
    if kind == "late":
        gate = Gate(server.port, delay=1.0)
        gate.open.set()
        uri = gate.uri
    words = (
        sys.executable, __file__, "--drive", "study", "--kind", kind, "--out", out, "--trials", options.trials,
        "--seconds", options.seconds, "--epochs", options.epochs,
    )  # fmt: skip
    driver = subprocess.Popen(
        [*map(str, words)], env={**_environment(), "TRACKING": uri}, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    if kind == "killed":
        points = out / "scale" / "points"
        while len(list(points.glob("*"))) < options.trials and driver.poll() is None:
            time.sleep(0.2)  # every trial has finished its first budget
        server.kill()
    assert driver.wait() == 0, kind
    measured = json.loads((out / "measured.json").read_text())
    if kind == "killed" or gate is not None:  # the next session delivers what is left
        if kind == "killed":
            server.start()
        command = [sys.executable, "-c", _DELIVER, str(out / "scale"), server.uri]
        subprocess.run(command, check=True, cwd=ROOT, env=_environment())
    if gate is not None:
        gate.shutdown()
    expected = 0 if kind == "none" else options.trials * 3 * options.epochs * 3
    study = json.loads((out / "scale" / "settings.json").read_text())["tracked_as"]
    ((rows, different, runs),) = postgres.ask(COUNT.format(study=study))
    assert runs == (options.trials if expected else 0)
    calls = [second for name in CALLS for second in measured["spent"].get(name, [])]
    life = measured["life"]
    return (
        KINDS[kind],
        f"{measured['sweep']:.1f}",
        f"{len(calls) / options.trials:.1f}",
        f"{sum(calls) / options.trials:.3f}",
        f"{sum(calls) / options.trials / life:.2%}",
        f"{1000 * max(calls, default=0):.0f}",
        str(measured["undelivered"]),
        str(expected),
        str(expected - different),
        str(rows - different),
    )


def drive_study(options: argparse.Namespace) -> None:
    """In a process of its own: a study of `bench/scale.py`, every call of its tracker timed."""
    sys.path.insert(0, str(ROOT / "bench"))
    import scale

    from sweep.tracking.tracker import Status, Tracker

    spent: dict[str, list[float]] = {name: [] for name in CALLS}
    left: list[int] = []
    for name in CALLS:
        setattr(Tracker, name, _timed(getattr(Tracker, name), spent[name], nothing=options.kind == "none"))
    ended = Tracker.study_ended

    def study_ended(self: Tracker, status: Status) -> None:
        left.append(self.undelivered)
        ended(self, status)

    Tracker.study_ended = study_ended  # type: ignore[method-assign]
    scale.simulate(
        argparse.Namespace(
            out=options.out, trials=options.trials, seconds=options.seconds, jitter=0.0, epochs=options.epochs,
            nodes=4, gpus=-(-options.trials // 4), live=False, tracking_uri=os.environ["TRACKING"],
        )
    )  # fmt: skip
    records = [json.loads(path.read_text()) for path in (options.out / "scale" / "points").glob("*/point.json")]
    lives: dict[str, list[float]] = {}
    for record in records:
        lives.setdefault(record["trial"], []).extend(time for slept in record["slept"] for time in slept)
    times = [time for life in lives.values() for time in life]
    measured = {
        "spent": spent,
        "life": sum(max(life) - min(life) for life in lives.values()) / len(lives),
        "sweep": max(times) - min(times),
        "undelivered": left[0],
    }
    (options.out / "measured.json").write_text(json.dumps(measured))


def _timed(call: Callable[..., Any], spent: list[float], *, nothing: bool) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*args: object, **kwargs: object) -> object:
        if nothing:
            return None
        begun = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - begun)

    return timed


_DELIVER = """
import json, sys
from pathlib import Path
from sweep.storage.folder import tracked_name
from sweep.tracking.tracker import OUTBOX, Tracker
study = Path(sys.argv[1])
tracker = Tracker(study=tracked_name(study), dataset="scenes", storage=study.parent, outbox=study / OUTBOX,
                  uri=sys.argv[2], params={})
while not tracker.wait(60):
    pass
tracker.study_ended("FINISHED")
"""


def many_drivers(options: argparse.Namespace, server: Server, postgres: Postgres) -> None:
    """Sixteen drivers at once, each with a trial of its own."""
    begin = time.time() + 2.0 * options.studies  # when all have been imported
    drivers = []
    for number in range(options.studies):
        out = (options.out / f"study{number}").absolute()
        words = (
            sys.executable, __file__, "--drive", str(begin), "--out", out, "--seconds", options.seconds,
            "--epochs", options.epochs,
        )  # fmt: skip
        drivers.append(
            subprocess.Popen(
                [*map(str, words)], env={**_environment(), "TRACKING": server.uri}, cwd=ROOT, stdout=subprocess.PIPE
            )
        )
    told = [json.loads(driver.communicate()[0]) for driver in drivers]
    ((rows, different, runs),) = postgres.ask(COUNT.format(study="many-"))
    expected = options.studies * 3 * options.epochs * 3
    assert runs == options.studies
    calls = [second for one in told for second in one["calls"]]
    print(
        f"\n{options.studies} studies at once, a trial of {options.seconds:g} s and {3 * options.epochs} epochs each: "
        f"{sum(calls) / options.studies / options.seconds:.2%} of a trial's life in tracker calls, the longest took "
        f"{1000 * max(calls):.0f} ms; all delivered {max(one['delivered'] for one in told):.1f} s after the last "
        f"epoch; of {expected} rows {expected - different} lost, {rows - different} doubled"
    )


def drive_tracker(options: argparse.Namespace) -> None:
    """In a process of its own: the tracker of one study with one trial, at the pace of its epochs."""
    from sweep.tracking.tracker import Tracker

    study = f"many-{options.out.name}"
    point = write_point(options.out)
    tracker = Tracker(
        study=study, dataset="scenes", storage=options.out, outbox=options.out / "outbox",
        uri=os.environ["TRACKING"], params={},
    )  # fmt: skip
    begin, calls = max(float(options.drive), time.time()), []

    def timed(call: Callable[..., Any], *args: object, **kwargs: object) -> None:
        begun = time.perf_counter()
        call(*args, **kwargs)
        calls.append(time.perf_counter() - begun)

    time.sleep(max(0.0, begin - time.time()))
    timed(tracker.trial_started, "t000", {"ramp": 0.5})
    for step in range(1, 3 * options.epochs + 1):
        time.sleep(max(0.0, begin + step * options.seconds / (3 * options.epochs) - time.time()))
        timed(tracker.trial_metrics, "t000", step, {"tune_loss": 0.5, "tune_seconds": 0.5, "tune_val_accuracy": 0.5})
    timed(tracker.point, "t000", point, step=step, hypervolume=0.5)
    timed(tracker.trial_ended, "t000", "FINISHED")
    begun = time.perf_counter()
    while not tracker.wait(60):
        pass
    delivered = time.perf_counter() - begun
    tracker.study_ended("FINISHED")
    print(json.dumps({"calls": calls, "delivered": delivered}))


def _environment() -> dict[str, str]:
    # Telemetry off, as in a sweep: its thread changes the environment while requests read it.
    off = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**os.environ, **off, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


if __name__ == "__main__":
    main()
