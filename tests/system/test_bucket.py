"""Whole studies with a bucket as storage: whatever is lost of the machines, the bucket is enough to go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.storage.bucket import MIRRORS, Bucket
from tests.buckets import KEYS, Server, s3_server
from tests.system.studies import OWN, ROOT, SMALL

STUDY = "own"
# A claim of a dead driver runs out sooner, so that a test need not wait for it.
PROGRAM = """
from sweep.storage import claim
claim.BEAT, claim.LIFE = 0.5, 3.0
from sweep.commandline import command
from sweep.run import main
command(main)
"""

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as made:
        yield made


def start(storage: str, mirror: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *SMALL, *OWN, "--board", "front", "--storage", storage, *more],
        env={**os.environ, **KEYS, MIRRORS: str(mirror), "PYTHONPATH": str(ROOT)}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def sweep(storage: str, mirror: Path, *more: str) -> str:
    process = start(storage, mirror, *more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def points_of(folder: Path) -> dict[str, str]:
    keys = ("trial", "budget", "macs", "val_accuracy", "test_accuracy", "widths")
    front = json.loads((folder / "front.json").read_text())
    return {point["point"]: str([point[key] for key in keys]) for point in front["points"]}


def records(bucket: Bucket) -> Counter[tuple[int, str]]:
    """How many records Optuna has of each trial, by state, in the bucket's copy of its database."""
    import optuna

    assert bucket.fetch_file(f"{STUDY}/optuna.db")
    url = f"sqlite:///{bucket.root / STUDY / 'optuna.db'}"
    study = optuna.load_study(study_name="nasprune", storage=url)
    return Counter((trial.user_attrs["slot"], trial.state.name) for trial in study.trials)


def test_a_killed_study_goes_on_from_the_bucket_alone(server: Server, tmp_path: Path, monkeypatch):
    """Kill -9 in the middle, the machine's disk lost: the same command, with a trial more, goes on elsewhere.

    Nothing is done twice, Optuna has one record a trial, and the points are those of an undisturbed study in a folder.
    """
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mine"))
    address = server.address("bucket/runs")
    bucket = Bucket(address)
    first = start(address, tmp_path / "one")
    deadline = time.monotonic() + 240
    while not bucket.fetch_folder(f"{STUDY}/points/t000-50pct") and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    (tmp_path / "one").rename(tmp_path / "lost")  # workers that outlive the driver for a moment may still write
    killed = bucket.read(f"{STUDY}/points/t000-50pct/point.json")

    said = sweep(address, tmp_path / "two", "--trials", "3", "--polish-epochs", "1")
    assert "is gone: going on where it stopped" in said
    assert "dense network: epoch" not in said, "the dense network is trained once"
    assert "asked about" not in said, "and asked once"
    assert bucket.read(f"{STUDY}/points/t000-50pct/point.json") == killed, "finished work is done once"
    assert records(bucket) == {(slot, "COMPLETE"): 1 for slot in range(3)}
    left = bucket.names(STUDY)
    assert not [name for name in left if name.startswith("trials/") or "claim" in name], left

    (mirror,) = (tmp_path / "two").iterdir()
    shutil.copytree(mirror / "shared", tmp_path / "folder" / "shared")
    sweep(str(tmp_path / "folder"), tmp_path / "none", "--board", "none")
    bucket.fetch_file(f"{STUDY}/front.json")
    undisturbed, resumed = points_of(tmp_path / "folder" / STUDY), points_of(bucket.root / STUDY)
    assert len(undisturbed) == 4
    assert sum("polished" not in name for name in resumed) == 6
    assert any("polished" in name for name in resumed)
    assert undisturbed.items() <= resumed.items()


NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for mirror in sys.argv[1:]:
    cluster.add_node(num_cpus=1, env_vars={"NASPRUNE_CACHE": mirror})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def test_nodes_share_nothing_but_the_bucket(server: Server, tmp_path: Path, monkeypatch):
    """The driver on a node without CPUs, trials on two others, each with a mirror of its own."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    mirrors = [tmp_path / "one", tmp_path / "two"]
    cluster = subprocess.Popen(
        [sys.executable, "-c", NODES, *map(str, mirrors)], text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        monkeypatch.setenv("RAY_ADDRESS", cluster.stdout.readline().strip())
        sweep(
            server.address("bucket/runs"),
            tmp_path / "driver",
            "--study",
            "nodes",
            "--budgets",
            "0.5",
            "--board",
            "none",
        )
    finally:
        cluster.communicate("")
    (folder,) = [mirror / "nodes" for mirror in (tmp_path / "driver").iterdir()]
    assert len(points_of(folder)) == 2
    worked = [[path.name for path in mirror.glob("*/nodes/points/t*/")] for mirror in mirrors]
    assert sorted(worked) == [["t000-50pct"], ["t001-50pct"]]
    for mirror in mirrors:
        assert list(mirror.glob("*/shared/data/*/pixels-32-*.arrow")), "each node maps images from its own disk"
        assert not list(mirror.glob("*/nodes/ray")), "what Tune keeps is the driver's alone"
