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
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers import Postgres, Server, postgres_programs  # noqa: E402
from tests.system.hosts import Host, Network, missing  # noqa: E402
from tests.system.local_cluster import LocalCluster  # noqa: E402

SMALL = (
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "6", "--tune-epochs",
    "12", "--growth", "0", "--budgets", "0.5,0.2", "--trials", "4", "--cpus-per-trial", "1",
)  # fmt: skip
TRIALS = 4
EPOCHS = TRIALS * 2 * 18
UNDISTURBED = "undisturbed"
ROWS = """
SELECT trial.value, m.key, m.step, count(*) FROM metrics m
JOIN tags study ON study.run_uuid = m.run_uuid AND study.key = 'nasprune.study' AND study.value = '{study}'
JOIN tags trial ON trial.run_uuid = m.run_uuid AND trial.key = 'nasprune.trial'
GROUP BY 1, 2, 3
"""
RUNS = """
SELECT trial.value, r.status FROM runs r
JOIN tags study ON study.run_uuid = r.run_uuid AND study.key = 'nasprune.study' AND study.value = '{study}'
LEFT JOIN tags trial ON trial.run_uuid = r.run_uuid AND trial.key = 'nasprune.trial'
WHERE r.lifecycle_stage = 'active'
"""
MODELS = """
SELECT count(*) FROM logged_models m JOIN logged_model_tags t ON t.model_id = m.model_id
WHERE m.lifecycle_stage = 'active' AND t.tag_key = 'nasprune.study' AND t.tag_value = '{study}'
"""
FRONT = ("trial", "budget", "macs", "val_accuracy", "test_accuracy", "widths", "on_front")


@dataclass
class Sweep:
    """A study on the cluster, run by a driver on its head.

    Attributes:
        entries: Of the driver's outbox, by number, of all sessions: what trials reported, and when.
        said: What drivers printed.
    """

    cluster: LocalCluster
    study: str
    uri: str
    entries: dict[int, dict[str, Any]] = field(default_factory=dict)
    said: str = ""
    sessions: int = 0

    def start(self) -> None:
        """Begin a session: `run.py` with the study's name, as a user would."""
        words = [*SMALL, "--study", self.study, "--storage", str(self.cluster.storage), "--tracking-uri", self.uri]
        command = f"OMP_NUM_THREADS=1 python nasprune/sweep/run.py {' '.join(words)} 2>&1"
        self.sessions += 1
        self._thread = threading.Thread(target=self._run, args=(command, self.sessions), daemon=True)
        self._thread.start()

    def _run(self, command: str, session: int) -> None:
        done = self.cluster.head.ssh(command, check=False, timeout=560)
        if session == self.sessions:  # one of a head that was killed hangs
            self.said += done.stdout
            self.code = done.returncode

    def driver(self) -> int:
        """Its process."""
        return next(pid for pid, line in self.cluster.head.processes().items() if line.startswith("python nasprune/"))

    def writer(self) -> int:
        """The process of it that tells MLflow."""
        return next(pid for pid, line in self.cluster.head.processes().items() if line.endswith(".writer_process"))

    def alive(self) -> bool:
        """Whether a session runs."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for the session's end."""
        while self.alive():
            self.look()
            self._thread.join(0.2)
        self.look()

    def look(self) -> None:
        """Read what is in the outbox now; the next session drops what is delivered."""
        try:
            lines = (self.cluster.storage / self.study / "outbox" / "journal.jsonl").read_text().splitlines(True)
        except FileNotFoundError:
            return
        for line in lines:
            if line.endswith("\n"):
                entry = json.loads(line)
                self.entries[entry["n"]] = entry

    def epochs(self) -> list[tuple[int, str, int]]:
        """Time in ms, trial and step of every epoch that was reported, as often as it was."""
        told = [entry for _, entry in sorted(self.entries.items()) if entry["kind"] == "trial_metrics"]
        return [(entry["time"], entry["trial"], entry["step"]) for entry in told]

    def until(self, epochs: int) -> None:
        """Wait until so many epochs are reported, some of every trial."""
        while len(told := self.epochs()) < epochs or len({trial for _, trial, _ in told}) < TRIALS:
            if not self.alive():
                raise RuntimeError(f"study {self.study} ended too soon: {self.said[-2000:]}")
            self.look()
            time.sleep(0.1)


@dataclass
class Bench:
    """All parts: hosts, MLflow server, database."""

    network: Network
    cluster: LocalCluster
    server: Server
    postgres: Postgres

    def trial_host(self) -> Host:
        """The worker with most trials."""
        trials = {host.name: len(self.trials(host)) for host in self.cluster.workers}
        return max(self.cluster.workers, key=lambda host: trials[host.name])

    def trials(self, host: Host) -> list[int]:
        """Processes of its trials."""
        return [pid for pid, line in host.processes().items() if line.startswith("ray::ImplicitFunc")]

    def rows(self, study: str) -> dict[tuple[str, str, int], int]:
        """How often each trial's metric is there, by trial, key and step."""
        query = ROWS.format(study=self._tracked(study))
        return {(trial, key, step): count for trial, key, step, count in self.postgres.ask(query)}

    def runs(self, study: str) -> list[tuple[str | None, str]]:
        """Trial and status of every run; the study's own has no trial."""
        return self.postgres.ask(RUNS.format(study=self._tracked(study)))

    def models(self, study: str) -> int:
        """How many models there are."""
        return int(self.postgres.ask(MODELS.format(study=self._tracked(study)))[0][0])

    def records(self, study: str) -> Counter[str]:
        """States of Optuna's records."""
        with closing(sqlite3.connect(self.cluster.storage / study / "optuna.db")) as database:
            return Counter(state for (state,) in database.execute("SELECT state FROM trials"))

    def _tracked(self, study: str) -> str:
        return str(json.loads((self.cluster.storage / study / "settings.json").read_text())["tracked_as"])

    def front(self, study: str) -> list[Any]:
        """What must be the same, of every point."""
        points = json.loads((self.cluster.storage / study / "front.json").read_text())["points"]
        return sorted(([point[key] for key in FRONT] for point in points), key=str)


Hurt = Callable[[Bench, Sweep], None]


def dense(bench: Bench, sweep: Sweep) -> None:
    """The host that trains the dense network, back after 20 s; on the driver's own host that process alone."""
    while True:
        for host in bench.cluster.hosts:
            found = [pid for pid, line in host.processes().items() if line.startswith("ray::_train_dense")]
            if found and host is bench.cluster.head:
                os.kill(found[0], signal.SIGKILL)
                return
            if found:
                host.kill()
                _later(20, lambda host=host: bench.network.boot(host.name))
                return
        if not sweep.alive():
            raise RuntimeError(f"study {sweep.study} ended before its dense network: {sweep.said[-2000:]}")
        time.sleep(0.1)


def trial(bench: Bench, sweep: Sweep) -> None:
    """A trial's process."""
    os.kill(bench.trials(bench.trial_host())[0], signal.SIGKILL)


def worker(bench: Bench, sweep: Sweep) -> None:
    """A worker host, back after 20 s."""
    host = bench.trial_host()
    host.kill()
    _later(20, lambda: bench.network.boot(host.name))


def link(bench: Bench, sweep: Sweep) -> None:
    """A worker host's link, mended when the study is over."""
    bench.trial_host().cut()


def driver(bench: Bench, sweep: Sweep) -> None:
    """The driver; the same command again."""
    os.kill(sweep.driver(), signal.SIGKILL)
    sweep.join()
    sweep.start()


def head(bench: Bench, sweep: Sweep) -> None:
    """The head host, with the driver; booted, `ray up`, the same command again."""
    bench.cluster.head.kill()
    sweep.look()
    bench.network.boot("head")
    bench.cluster.up()
    sweep.start()


def mlflow(bench: Bench, sweep: Sweep) -> None:
    """The MLflow server; started again after 10 s."""
    bench.server.kill()
    _later(10, bench.server.start)


def writer(bench: Bench, sweep: Sweep) -> None:
    """The driver's process that tells MLflow."""
    os.kill(sweep.writer(), signal.SIGKILL)


def database(bench: Bench, sweep: Sweep) -> None:
    """PostgreSQL below the MLflow server; started again after 10 s."""
    bench.postgres.kill()
    _later(10, bench.postgres.start)


def worker_disk(bench: Bench, sweep: Sweep) -> None:
    """A worker's own disk is full (Ray's folder on it), from then on."""
    bench.trial_host().shell("dd if=/dev/zero of=/tmp/ray/full bs=1M; sync", check=False)


def storage_disk(bench: Bench, sweep: Sweep) -> None:
    """The storage's disk is full; freed when the driver has ended, then the same command again."""
    full = bench.cluster.storage / "full"
    with full.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**20))
        except OSError:
            pass
    sweep.join()
    full.unlink()
    sweep.start()


CASES: dict[str, tuple[str, Hurt | None]] = {
    UNDISTURBED: ("nothing", None),
    "dense": ("the host that trains the dense network, booted again after 20 s", dense),
    "trial": ("a trial's process", trial),
    "mlflow": ("the MLflow server, back after 10 s", mlflow),
    "writer": ("the driver's process that tells MLflow", writer),
    "database": ("PostgreSQL, back after 10 s", database),
    "driver": ("the driver, the same command again", driver),
    "worker": ("a worker host, booted again after 20 s", worker),
    "worker-disk": ("the disk of a worker's Ray folder is full", worker_disk),
    "storage-disk": ("the storage's disk is full; freed, the same command again", storage_disk),
    "link": ("a worker host's link, cut for good", link),
    "head": ("the head host with the driver; booted, ray up, the same command again", head),
}


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


def _later(seconds: float, call: Callable[[], object]) -> None:
    """Call in a thread that stays: a host ends with the thread that booted it."""

    def wait() -> None:
        time.sleep(seconds)
        call()
        threading.Event().wait()

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def parts(out: Path) -> Iterator[Bench]:
    """Hosts, launched; server and database, started."""
    folder = Path(tempfile.mkdtemp(prefix="reliability-"))
    storage = folder / "storage"
    storage.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", storage], check=True)
    postgres = Postgres()
    postgres.start()
    try:
        with Network(folder / "network", disk="400m") as network:
            server = Server(postgres.uri, folder / "files", address=f"{network.net}.1")
            server.start()
            try:
                cluster = LocalCluster(network, storage)
                described = yaml.safe_load(cluster.file.read_text())
                for key in ("head_start_ray_commands", "initialization_commands", "head_setup_commands"):
                    if key in described:  # the server here is another one
                        described[key] = [line for line in described[key] if "sweep.cluster.server" not in line]
                cluster.file.write_text(yaml.safe_dump(described))
                cluster.up()
                yield Bench(network, cluster, server, postgres)
            finally:
                server.kill()
    finally:
        postgres.remove()
        subprocess.run(["umount", "-l", storage], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def table(out: Path) -> None:
    """Print what is there, the last of each case."""
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
    if not options.table:
        why_not = missing() or ("" if postgres_programs() else "PostgreSQL is not installed")
        if why_not:
            sys.exit(f"error: {why_not}")
        options.out.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # all parts are taken down then, too
        with parts(options.out) as bench:
            for name in options.cases.split(","):
                run(bench, name, options.out)
    table(options.out)


if __name__ == "__main__":
    main()
