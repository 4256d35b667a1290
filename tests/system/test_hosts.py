"""`ray up`, `ray submit`, `ray down` on three hosts with their own networks, processes and homes."""

from __future__ import annotations

import json
import subprocess
from collections import Counter

import pytest

from tests.system.hosts import Network, missing
from tests.system.local_cluster import LocalCluster

STUDY = "scenes-resnet10"
SMALL = (
    "--scenes-per-class", "20", "--image-size", "32", "--dense-epochs", "2", "--search-epochs", "1",
    "--tune-epochs", "1", "--budgets", "0.5,0.2", "--trials", "4", "--cpus-per-trial", "2",
)  # fmt: skip

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    folder = tmp_path_factory.mktemp("hosts")
    storage = folder / "storage"
    storage.mkdir()
    with Network(folder / "network") as network:
        # Workers end themselves when they have missed the head for so long; a minute unless told otherwise.
        cluster = LocalCluster(network, storage, RAY_gcs_rpc_server_reconnect_timeout_s="5")
        cluster.up()
        yield cluster


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("error:")]


@pytest.fixture(scope="module")
def swept(cluster):
    """The sweep, and on which hosts its trials were seen."""
    seen: Counter[str] = Counter()
    import threading

    over = threading.Event()

    def look():
        while not over.wait(0.3):
            for host in cluster.hosts:
                seen[host.name] += any("ray::ImplicitFunc.train" in line for line in host.processes().values())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        done = cluster.submit(*SMALL)
    finally:
        over.set()
        watcher.join()
    return done, seen


def test_sweep_runs_to_a_front(cluster, swept):
    done, seen = swept
    assert done.returncode == 0, done.stdout
    front = json.loads((cluster.storage / STUDY / "front.json").read_text())
    assert len(front["points"]) == 8
    assert any(point["on_front"] for point in front["points"])
    assert seen["worker0"] > 0, done.stdout
    assert seen["worker1"] > 0, done.stdout
