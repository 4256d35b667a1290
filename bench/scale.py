"""Many trials on many GPUs that are only declared: what the driver costs, and whether GPUs wait for it.

    uv run bench/scale.py --trials 2000 --seconds 20 --out runs/scale

A whole study of `sweep/run.py` on a Ray cluster of `--nodes` nodes with `--gpus` GPUs each, all on this machine, with
Optuna, early stopping's stopper, MLflow and the front as they are; only the trials' training is replaced by sleeping.
What it measures is written to `rows.jsonl` as it goes; `--table` prints the table of what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import platform
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from rich.console import Console

from nasprune.answers import obtain_answers
from nasprune.compute import choose_compute
from nasprune.data import load
from nasprune.dense import obtain_dense
from nasprune.provenance import commit
from sweep.cluster.ray_cluster import prepare_environment
from sweep.settings import StudySettings

prepare_environment()
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # they share two cores with the driver here
os.environ["RAY_worker_register_timeout_seconds"] = "900"  # noqa: SIM112  # and all 64 start at once
os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112  # or 64 more would start, for tasks to come
os.environ["REPORTER_UPDATE_INTERVAL_MS"] = "60000"  # how full a node is: with nodes of their own it costs them

import ray  # noqa: E402  # reads the environment when it is imported
import sleeping  # noqa: E402
from ray import tune  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from sweep import study  # noqa: E402
from sweep.schedule import Follower  # noqa: E402
from sweep.searcher import OptunaSearcher  # noqa: E402
from sweep.showing import Showing  # noqa: E402
from sweep.tracking.delivery import Delivery  # noqa: E402
from sweep.tracking.writer_process import WriterProcess  # noqa: E402

Row = dict[str, Any]
MARKS = (100, 500, 2000)
PARTS: dict[str, tuple[object, str]] = {
    "suggest": (OptunaSearcher, "suggest"),
    "tell": (OptunaSearcher, "on_trial_complete"),
    "result": (Follower, "on_trial_result"),
    "begin showing": (Showing, "__init__"),
    "end showing": (Showing, "end"),
    "say": (Delivery, "say"),
    "deliver": (WriterProcess, "deliver"),
}
"""What is timed in the driver. The writer is the process that tells MLflow; another one draws the front."""


class Recorder:
    """Writes rows to a file, from any thread."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self._lock = threading.Lock()

    def __call__(self, kind: str, **values: object) -> None:
        """Write one row."""
        with self._lock:
            self._file.write(json.dumps({"kind": kind, "at": time.time(), **values}) + "\n")
            self._file.flush()


class Meter:
    """Times calls in the driver, and every few seconds writes what they came to.

    Args:
        record: Where to.
    """

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._spent: dict[str, list[float]] = {name: [] for name in PARTS}
        self._over = 0
        self._writer = -1
        self._written = {"writer_rss": 0.0, "writer_cpu": 0.0}
        self._delivery: Delivery | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        for name, (owner, function) in PARTS.items():
            setattr(owner, function, self._timed(name, getattr(owner, function)))
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: object, **kwargs: object) -> object:
            begun = time.perf_counter()
            given = function(*args, **kwargs)
            spent = time.perf_counter() - begun
            if name != "suggest" or isinstance(given, dict):
                self._spent[name].append(spent)
            else:
                self._spent.setdefault("asked in vain", []).append(spent)
            self._over += name == "tell"
            match args[0]:
                case WriterProcess() as writer:
                    self._writer = writer.pid
                case Delivery() as delivery:
                    self._delivery = delivery
            return given

        return timed

    def _watch(self) -> None:
        while True:
            last = self._stop.wait(2.0)
            spent, fresh = self._spent, {name: [] for name in PARTS}
            self._spent = fresh
            with contextlib.suppress(FileNotFoundError):  # before it begins, and once it has ended
                self._written = {"writer_rss": resident(self._writer), "writer_cpu": processor_seconds(self._writer)}
            self._record(
                "sample",
                over=self._over,
                waiting=self._delivery.waiting if self._delivery else 0,
                rss=resident(os.getpid()),
                cpu=time.process_time(),
                **self._written,
                spent=spent,
                load=os.getloadavg()[0],
            )
            if last:
                return


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def processor_seconds(pid: int) -> float:
    """Processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def simulate(options: argparse.Namespace) -> None:
    """Run the study, and write its rows."""
    out: Path = options.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    settings = StudySettings(
        study="scale", storage=str(out.absolute()), trials=options.trials, scenes_per_class=10, image_size=32,
        dense_epochs=1, search_epochs=1, tune_epochs=options.epochs - 1, growth=0.0, board="none", cpus_per_trial=1,
        tracking_uri=options.tracking_uri,
    )  # fmt: skip
    shared = settings.root / "shared"
    data = load(settings.data_settings(), shared / "data")
    compute = choose_compute("cpu", threads=1)
    dense = obtain_dense(shared / "dense", settings.dense_settings(len(data.classes), data.bands), data, compute)
    obtain_answers(shared / "answers", dense, data, settings.descent_settings({}), compute)
    plain = {
        "plan": plan(settings),
        "directory": str(settings.directory),
        "budgets": settings.budgets,
        "seconds": options.seconds / (options.epochs * len(settings.budgets)),
        "jitter": options.jitter,
        "places": min(options.trials, options.nodes * options.gpus),
        "record": dict(dense.record),
        "files": {
            "model.onnx": small_model(len(data.classes), settings.image_size),
            "weights.safetensors": b"\x02\0\0\0\0\0\0\0{}",
        },
    }
    # What real trials are given stays here: with its classes torch would come into every worker.
    with_parameters = tune.with_parameters
    tune.with_parameters = lambda *_, **__: with_parameters(sleeping.sleep_through, study=plain)
    cluster = Cluster()
    for _ in range(options.nodes):
        cluster.add_node(num_gpus=options.gpus, num_cpus=options.gpus, object_store_memory=80 * 2**20)
    ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    record = Recorder(out / "rows.jsonl")
    try:
        record(
            "study", trials=options.trials, seconds=options.seconds, nodes=options.nodes, gpus=options.gpus,
            epochs=options.epochs * len(settings.budgets), budgets=len(settings.budgets), machine=machine(),
            commit=commit(),
        )  # fmt: skip
        with Meter(record), (out / "terminal.txt").open("w") as terminal:
            study.run_study(settings, Console(file=terminal, force_terminal=options.live, width=120))
        record("end")
    finally:
        ray.shutdown()
        cluster.shutdown()


def plan(settings: StudySettings) -> list[tuple[float, list[dict[str, Any]]]]:
    """For each budget its epochs, as a trial reports them."""
    how, step = settings.descent_settings({}), 0
    planned = []
    for budget in settings.falling_budgets:
        epochs: list[dict[str, Any]] = []
        for phase, count in zip(("search", "tune"), how.epochs(budget), strict=True):
            for epoch in range(1, count + 1):
                step += 1
                metrics = {f"{phase}_{name}": 0.5 for name in ("loss", "seconds", "val_accuracy")}
                epochs.append({"phase": phase, "epoch": epoch, "epochs": count, "step": step, **metrics})
        planned.append((budget, epochs))
    return planned


def small_model(classes: int, side: int) -> bytes:
    """An ONNX file of some hundred bytes that takes images and gives logits."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    image = helper.make_tensor_value_info("image", kind, ["batch", 3, side, side])
    logits = helper.make_tensor_value_info("logits", kind, ["batch", classes])
    weights = helper.make_tensor("weights", kind, [3, classes], [0.0] * 3 * classes)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "small", [image], [logits], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def machine() -> str:
    """What this ran on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"


def show(out: Path) -> None:
    """Print the table of a folder's rows."""
    if not (out / "rows.jsonl").exists():
        sys.exit(f"error: no row in {out}; run without --table first")
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    about = next(row for row in rows if row["kind"] == "study")
    samples = [row for row in rows if row["kind"] == "sample"]
    records = [json.loads(path.read_text()) for path in out.glob("scale/points/[!.]*/point.json")]
    slept = {r["trial"]: r["slept"] for r in sorted(records, key=lambda r: len(r["slept"]))}
    trials = list(slept.values())
    places = about["nodes"] * about["gpus"]
    print(
        f"{about['nodes']} nodes of {about['gpus']} GPUs, declared; all on one machine of {about['machine']}; commit "
        f"{about['commit']}; trials of {about['seconds']:g} s, {about['epochs']} epochs, {about['budgets']} points"
    )
    begun = min(trial[0][0] for trial in trials)
    ended = max(trial[-1][1] for trial in trials)
    full, starved = steady(trials, about["epochs"], places)
    whole = [trial for trial in trials if len(trial) == about["epochs"]]
    print(
        f"{len(whole)} trials in {ended - begun:.0f} s: {3600 * len(whole) / (ended - begun):.0f} an hour (at most "
        f"{3600 * places / about['seconds']:.0f}); idle {idle(trials, begun, ended, places):.1%} of the "
        f"GPU-seconds, {idle(trials, full, starved, places):.1%} from the {places}th end to the last start"
    )
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    before = 0
    for mark in [*(mark for mark in MARKS if mark < len(whole)), len(whole)]:
        # What is told of a mark is of the last fifth of the trials up to it.
        since = max(before, int(0.8 * mark))
        begin = next(place for place, row in enumerate(samples) if row["over"] >= since)
        end = next((place for place, row in enumerate(samples) if row["over"] >= mark), len(samples) - 1)
        part = samples[min(begin, end - 1) : end + 1]
        first, final = part[0], part[-1]
        ended_here = max(1, final["over"] - first["over"])
        spent = {name: [s for row in part[1:] for s in row["spent"].get(name, [])] for name in PARTS}
        shown = [spent["begin showing"], spent["end showing"]]
        cells = [
            mark,
            f"{idle(trials, max(first['at'], full), min(final['at'], starved), places):.1%}",
            round(final["rss"] / 1e6),
            round(1000 * (final["cpu"] - first["cpu"]) / ended_here),
            milliseconds(spent["suggest"], len(spent["suggest"])),
            milliseconds(spent["tell"], len(spent["tell"])),
            milliseconds(spent["result"], ended_here),
            len(shown[1]),
            milliseconds([s for each in shown for s in each], max(1, len(shown[1]))),
            round(final["writer_rss"] / 1e6),
            round(1000 * (final["writer_cpu"] - first["writer_cpu"]) / ended_here),
            final["waiting"],
            f"{statistics.mean(row['load'] for row in part):.0f}",
        ]
        print(f"| {' | '.join(map(str, cells))} |")
        before = mark
    print(f"\nmost entries waiting: {max(row['waiting'] for row in samples)}; processor time a trial, ms, by tenths:")
    marks = [next(row for row in samples if row["over"] >= len(whole) * tenth // 10) for tenth in range(1, 11)]
    for name, key in (("driver", "cpu"), ("writer", "writer_cpu")):
        costs = [(b[key] - a[key]) / max(1, b["over"] - a["over"]) for a, b in itertools.pairwise(marks)]
        print(f"{name}: {', '.join(f'{1000 * cost:.0f}' for cost in costs)}")


COLUMNS = (
    "trials over", "idle GPUs", "driver RSS, MB", "driver CPU a trial, ms", "suggest, ms", "tell, ms",
    "all results of a trial, ms", "front shown, times", "each, ms", "writer RSS, MB", "writer CPU a trial, ms",
    "entries waiting", "load",
)  # fmt: skip


def milliseconds(spent: Sequence[float], times: int) -> str:
    """What it took on average."""
    return f"{1000 * sum(spent) / times:.0f}" if spent else ""


def idle(slept: Sequence[Sequence[tuple[float, float]]], begun: float, ended: float, places: int) -> float:
    """The share of the GPU-seconds between two times in which no trial slept."""
    busy = sum(max(0.0, min(b, ended) - max(a, begun)) for trial in slept for a, b in trial)
    return 1 - busy / (places * max(1e-9, ended - begun))


def steady(slept: Sequence[Sequence[tuple[float, float]]], epochs: int, places: int) -> tuple[float, float]:
    """From when as many trials as there are places had ended, processes had started and all, to when the last began."""
    ends = sorted(trial[-1][1] for trial in slept if len(trial) == epochs)
    return ends[min(places, len(ends)) - 1], max(trial[0][0] for trial in slept)


def main() -> None:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a trial, on average")
    parser.add_argument("--jitter", type=float, default=0.2, help="share by which the longest and shortest differ")
    parser.add_argument("--epochs", type=int, default=3, help="of search and tuning, reported at each budget")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--gpus", type=int, default=4, help="of a node")
    parser.add_argument("--tracking-uri", help="an MLflow server, in place of a store in OUT")
    parser.add_argument("--out", type=Path, default=Path("runs/scale"))
    parser.add_argument("--live", action="store_true", help="draw the live table, as in a terminal")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    options = parser.parse_args()
    if not options.table:
        simulate(options)
    show(options.out)


if __name__ == "__main__":
    sys.exit(main())
