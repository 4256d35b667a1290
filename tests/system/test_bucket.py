"""A study whose nodes share a bucket. What a bucket is worth when machines are lost, see test_sweep.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.buckets import KEYS, s3_server
from tests.system.studies import ROOT, sweep_in_bucket

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


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


def test_nodes_share_nothing_but_the_bucket(tmp_path: Path, monkeypatch):
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
        with s3_server() as server:
            study = ("--study", "nodes", "--budgets", "0.5")
            sweep_in_bucket(server.address("bucket/runs"), tmp_path / "driver", *study)
    finally:
        cluster.communicate("")
    (folder,) = [mirror / "nodes" for mirror in (tmp_path / "driver").iterdir()]
    assert len(json.loads((folder / "front.json").read_text())["points"]) == 2
    worked = [[path.name for path in mirror.glob("*/nodes/points/t*/")] for mirror in mirrors]
    assert sorted(worked) == [["t000-50pct"], ["t001-50pct"]]
    for mirror in mirrors:
        assert list(mirror.glob("*/shared/data/*/pixels-32-*.arrow")), "each node maps images from its own disk"
        assert not list(mirror.glob("*/nodes/ray")), "what Tune keeps is the driver's alone"
