"""Nodes are looked at before anything is trained: what a node can be missing, in one line each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nasprune.errors import SettingsError
from sweep.cluster.preflight import NodeError, Seen, check_nodes, check_this_node, compare, versions
from sweep.cluster.ray_cluster import Places, find_places
from sweep.settings import StudySettings
from sweep.storage.bucket import Storage, open_storage

DRIVER = {"interpreter": "/a/python", "python": "3.11", "nasprune": "aaaa", "torch": "2.15.0"}
STORAGE = Storage(Path("/shared"))


def told(seen: str = "", storage: Storage = STORAGE, **changed: str | None) -> str:
    found = {**DRIVER, "interpreter": "/b/python", **changed}
    return compare("10.0.0.7", Seen({k: v for k, v in found.items() if v is not None}, seen), DRIVER, storage)


def test_same_node_is_fine():
    assert told() == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (told(nasprune=None), "node 10.0.0.7 has no nasprune in the Python that Ray runs there (/b/python)"),
        (told(nasprune=None, torch=None), "has no nasprune, torch in"),
        (told(torch="2.14.1"), "node 10.0.0.7 has another torch (2.14.1) than the driver (2.15.0)"),
        (told(nasprune="bbbb"), "node 10.0.0.7 has other code of nasprune (bbbb) than the driver (aaaa)"),
        (told(python="3.12"), "has another python (3.12)"),
        (told("does not see it"), "storage /shared given; expected one that every node can read and write, but node"),
        (
            told("cannot use it (AWS Error ACCESS_DENIED)", open_storage("s3://bucket/runs")),
            "storage s3://bucket/runs given; expected one that every node can read and write, but node 10.0.0.7 cannot "
            "use it (AWS Error ACCESS_DENIED); give every node the right to",
        ),
    ],
)
def test_one_line_says_what_is_wrong_and_what_to_do(line, expected):
    assert expected in line
    assert "\n" not in line
    assert any(word in line for word in ("install the", "mount the", "give every node"))


def test_versions_are_of_what_trials_use():
    found = versions()
    assert {"interpreter", "python", "nasprune", "sweep", "torch", "ray", "pyarrow"} <= set(found)
    assert found == versions()
    assert "+" not in found["torch"]


def test_a_node_that_joined_late_is_looked_at_by_its_trials():
    driver = versions()
    check_this_node(driver, "resnet18")
    with pytest.raises(NodeError, match=r"node [0-9.]+ has other code of sweep \(.*\) than the driver \(behind\)"):
        check_this_node({**driver, "sweep": "behind"}, "resnet18")


def test_the_code_of_a_network_is_part_of_what_a_node_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    network = "network_on_two_nodes:make"
    (tmp_path / "network_on_two_nodes.py").write_text("make = 1")
    driver = versions(network)
    check_this_node(driver, network)
    (tmp_path / "network_on_two_nodes.py").write_text("make = 2")
    with pytest.raises(NodeError, match=rf"node [0-9.]+ has other code of {network} \(\w{{16}}\) than the driver \("):
        check_this_node(driver, network)


@pytest.fixture(scope="module")
def ray_cluster_of_three():
    """A head without CPUs and two nodes with GPUs, declared ones, all on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=4, num_gpus=2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


PLACES = Places(trial={"CPU": 1.0, "GPU": 0.5}, at_once=8, dense={"CPU": 1.0, "GPU": 1.0}, device="cuda")


@pytest.mark.system
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning")
class TestOnNodes:
    def test_good_cluster_leaves_no_trace(self, ray_cluster_of_three, tmp_path):
        said = []
        check_nodes(Storage(tmp_path), PLACES, said.append)
        assert said == []
        assert list(tmp_path.iterdir()) == []

    def test_storage_that_goes_is_told_of(self, ray_cluster_of_three, tmp_path, monkeypatch):
        """As if it was another folder on the nodes: the driver's file is not there."""
        import sweep.cluster.preflight

        storage, elsewhere = tmp_path / "driver", tmp_path / "node"
        storage.mkdir()
        elsewhere.mkdir()
        look_at = sweep.cluster.preflight._look_at
        monkeypatch.setattr(
            sweep.cluster.preflight, "_look_at", lambda path, name: look_at(path and str(elsewhere), name)
        )
        with pytest.raises(SettingsError, match=r"storage .*/driver given; .* does not see there"):
            check_nodes(Storage(storage), PLACES, print)
        assert list(storage.iterdir()) == []

    def test_bucket_that_a_node_may_not_write_is_told_of(self, ray_cluster_of_three, tmp_path, monkeypatch):
        """Here a folder by its address; on the nodes the name is a file's, below which nothing can be written."""
        import sweep.cluster.preflight

        folder, blocked = tmp_path / "bucket", tmp_path / "blocked"
        folder.mkdir()
        blocked.touch()
        monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "mirrors"))
        bucket = open_storage(folder.as_uri())
        check_nodes(bucket, PLACES, print)
        assert list(folder.iterdir()) == []
        look_at = sweep.cluster.preflight._look_at
        monkeypatch.setattr(
            sweep.cluster.preflight, "_look_at", lambda path, name: look_at(path and blocked.as_uri(), name)
        )
        with pytest.raises(SettingsError, match=r"storage file:.*/bucket given; .* cannot use it .*give every node"):
            check_nodes(bucket, PLACES, print)

    def test_other_code_on_a_node_is_told_of(self, ray_cluster_of_three, tmp_path, monkeypatch):
        import sweep.cluster.preflight

        monkeypatch.setattr(sweep.cluster.preflight, "versions", lambda: {**versions(), "nasprune": "other"})
        with pytest.raises(SettingsError, match=r"node \S+ has other code of nasprune \(\w{8}\) than the driver"):
            check_nodes(Storage(tmp_path), PLACES, print)

    def test_trials_of_half_a_gpu_fill_both_nodes(self, ray_cluster_of_three):
        """As many as fit, on several nodes at once."""
        import dataclasses

        import ray

        settings = StudySettings(gpus_per_trial=0.5, cpus_per_trial=1)
        places = find_places(settings)
        assert (places.at_once, places.trial) == (8, {"CPU": 1.0, "GPU": 0.5})
        assert find_places(dataclasses.replace(settings, cpus_per_trial=2)).at_once == 4
        with pytest.raises(SettingsError, match=r"5 CPUs and 0\.5 GPUs a trial given"):
            find_places(dataclasses.replace(settings, cpus_per_trial=5))
        with pytest.raises(SettingsError, match=r"0\.0001 to 1"):
            dataclasses.replace(settings, gpus_per_trial=2)

        @ray.remote(num_cpus=1, num_gpus=0.5)
        class Trial:
            def node(self) -> str:
                return ray.get_runtime_context().get_node_id()

        trials = [Trial.remote() for _ in range(places.at_once)]
        try:
            nodes = ray.get([trial.node.remote() for trial in trials], timeout=120)
        finally:
            for trial in trials:
                ray.kill(trial)
        assert sorted(nodes.count(node) for node in set(nodes)) == [4, 4]


def test_gpus_asked_for_where_there_are_none(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    with pytest.raises(SettingsError, match="device cuda given, but the cluster has no GPU; use --device cpu or add"):
        find_places(StudySettings(device="cuda"))
    with pytest.raises(SettingsError, match=r"1 CPUs and 0\.25 GPUs a trial given, .* \(4 CPUs and 0 GPUs in all\)"):
        find_places(StudySettings(gpus_per_trial=0.25))


def test_probe_needs_a_storage_that_can_be_written(tmp_path):
    from sweep.cluster.preflight import _Probe

    storage = tmp_path / "gone"
    storage.mkdir()
    shutil.rmtree(storage)
    with pytest.raises(SettingsError, match="cannot be written"), _Probe(Storage(storage)):
        pass
