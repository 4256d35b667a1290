"""`ray up`, `ray submit`, `ray down` on three hosts with their own networks, processes and homes.

The packages of others are this machine's, which the hosts see; the project's own are those that the launcher sends.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.system.hosts import Network, missing
from tests.system.local_cluster import LocalCluster

STUDY = "scenes-resnet10"
# A trial takes a whole host, so three trials are on three hosts.
SMALL = (
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "1",
    "--tune-epochs", "1", "--budgets", "0.5,0.2", "--trials", "3", "--board", "none", "--cpus-per-trial",
)  # fmt: skip

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that is up; tests run in the order of this file, and the last one takes it down."""
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    folder = tmp_path_factory.mktemp("hosts")
    storage = folder / "storage"
    storage.mkdir()
    with Network(folder / "network") as network:
        cluster = LocalCluster(network, storage)
        cluster.up()
        yield cluster


def submit(cluster: LocalCluster) -> subprocess.CompletedProcess[str]:
    cpus = cluster.head.shell("nproc").stdout.strip()
    return cluster.submit(*SMALL, cpus)


@contextmanager
def unshared(cluster):
    """Another file system where the storage should be."""
    cluster.workers[1].shell(f"mount -t tmpfs tmpfs {cluster.storage}")
    yield
    cluster.workers[1].shell(f"umount {cluster.storage}")


@contextmanager
def without_packages(cluster):
    cluster.workers[1].shell("cd ~/nasprune && mkdir away && mv nasprune sweep away")
    yield
    cluster.workers[1].shell("cd ~/nasprune && mv away/* . && rmdir away")


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (unshared, "expected one that every node can read and write, but node {} does not see"),
        (without_packages, "node {} has no nasprune, sweep in the Python that Ray runs there"),
    ],
)
def test_bad_cluster_is_one_line_before_anything_is_trained(cluster, broken, expected):
    with broken(cluster):
        done = submit(cluster)
    assert done.returncode == 1  # the launcher's, whatever the program's was
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)  # the launcher gives the program a terminal
    (error,) = [line for line in plain.splitlines() if line.startswith("error:")]
    assert expected.format(cluster.workers[1].address) in error
    assert "Traceback" not in done.stdout
    assert not (cluster.storage / STUDY).exists()
    assert not (cluster.storage / "shared" / "dense").exists()
    assert not list(cluster.storage.glob(".shared-*"))


def test_sweep_runs_to_a_front_with_trials_on_both_workers(cluster):
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.3):
            seen.update(
                host.name
                for host in cluster.hosts
                if any("ray::ImplicitFunc.train" in line for line in host.processes().values())
            )

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        done = submit(cluster)
    finally:
        over.set()
        watcher.join()
    assert done.returncode == 0, done.stdout
    front = json.loads((cluster.storage / STUDY / "front.json").read_text())
    assert len(front["points"]) == 6
    assert any(point["on_front"] for point in front["points"])
    assert {worker.name for worker in cluster.workers} <= seen, done.stdout
    assert "trials:  http://127.0.0.1:5000/#/experiments/" in done.stdout
    with closing(sqlite3.connect(cluster.head.home / "nasprune" / "mlflow.db")) as database:
        assert sorted(database.execute("SELECT status FROM runs")) == [("FINISHED",)] * 4
    assert list((cluster.storage / "mlflow" / "artifacts").rglob("front.html"))


def points_of(front: Path) -> int:
    """How many points a front has by now."""
    return len(json.loads(front.read_text())["points"]) if front.exists() else 0


def test_a_detached_study_goes_on_without_who_submitted_it(cluster, port):
    """As clusters/README.md says: the dashboard's port forwarded, `ray job submit`, and the forwarding taken away."""
    study = ("--study", "detached", "--trials", "1")
    with cluster.dashboard(port):
        submitted = cluster.job("submit", port, "--no-wait", "--", "python", "-m", "sweep.run", *SMALL, "1", *study)
        assert submitted.returncode == 0, submitted.stdout
        (job,) = set(re.findall(r"raysubmit_\w+", submitted.stdout))
    front = cluster.storage / "detached" / "front.json"
    with cluster.dashboard(port):
        deadline = time.monotonic() + 240
        while points_of(front) < 2 and time.monotonic() < deadline:  # the launcher's own question takes seconds of work
            time.sleep(0.2)
        while "' succeeded" not in (said := cluster.job("status", port, job).stdout):
            assert "' failed" not in said, cluster.job("logs", port, job).stdout
            assert time.monotonic() < deadline, said
            time.sleep(1.0)
        logs = cluster.job("logs", port, job).stdout
    assert points_of(front) == 2
    assert "trials:  http://127.0.0.1:5000/#/experiments/" in logs


def test_strangers_are_refused(cluster):
    """MLflow and the dashboard listen to the head alone; Ray's ports answer to the cluster's token only."""
    for port in (5000, 8265):
        assert {address for address, number in cluster.head.listening() if number == port} == {"127.0.0.1"}
    asked = "import ray; ray.init('auto', logging_level='error'); print(ray.cluster_resources())"
    friend = cluster.head.ssh(f'python -c "{asked}"', check=False)
    assert friend.returncode == 0, friend.stderr
    stranger = cluster.workers[0].ssh(
        f"mkdir -p /run/other && HOME=/run/other RAY_AUTH_TOKEN={'0' * 64} "
        f'RAY_ADDRESS={cluster.head.address}:6379 python -c "{asked}"',
        check=False,
    )
    assert stranger.returncode != 0
    assert "CPU" not in stranger.stdout


def test_down_leaves_nothing(cluster):
    cluster.down()
    deadline = time.monotonic() + 90
    while any(host.processes() for host in cluster.hosts) and time.monotonic() < deadline:
        time.sleep(0.5)
    for host in cluster.hosts:
        assert not host.processes()
        assert not host.listening()
