"""What is done to a sweep in its middle, each with kill -9 or as hard: the cases of `reliability.py`."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable

from stage import Bench, Sweep

UNDISTURBED = "undisturbed"
Hurt = Callable[[Bench, Sweep], None]


def dense(bench: Bench, sweep: Sweep) -> None:
    """The host that trains the dense network, back after 20 s; on the driver's own host that process alone."""
    while True:
        for host in bench.cluster.hosts:
            found = [pid for pid, line in host.processes().items() if line.startswith("ray::_make_dense")]
            if found and host is bench.cluster.head:
                os.kill(found[0], signal.SIGKILL)
                return
            if found:
                host.kill()
                _later(20, functools.partial(bench.network.boot, host.name))
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
    "dense": ("what trains the dense network: a worker host, or on the head that process", dense),
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


def _later(seconds: float, call: Callable[[], object]) -> None:
    """Call in a thread that stays: a host ends with the thread that booted it."""

    def wait() -> None:
        time.sleep(seconds)
        call()
        threading.Event().wait()

    threading.Thread(target=wait, daemon=True).start()
