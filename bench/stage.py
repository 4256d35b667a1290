"""A study on three hosts, and what is there to be hurt and to be counted: the stage of `reliability.py`."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.servers import Postgres, Server  # noqa: E402
from tests.system.hosts import Host, Network  # noqa: E402
from tests.system.local_cluster import LocalCluster  # noqa: E402

SMALL = (
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "6", "--tune-epochs",
    "12", "--growth", "0", "--budgets", "0.5,0.2", "--trials", "4", "--cpus-per-trial", "1",
)  # fmt: skip
TRIALS = 4
EPOCHS = TRIALS * 2 * 18
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


@contextmanager
def parts() -> Iterator[Bench]:
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
