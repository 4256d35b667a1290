"""What a study makes of the description that the launcher leaves on a cluster's head."""

from __future__ import annotations

import json
import os
import socket

import pytest
from ray._common.utils import get_default_ray_temp_dir

from nasprune.errors import SettingsError
from sweep.cluster.launched import (
    answers,
    being_set_up,
    cluster_address,
    cluster_to_join,
    nodes_to_come,
    temporary,
    wait_for_nodes,
)
from sweep.cluster.ray_cluster import _LOOPBACK, _QUIET, prepare_environment, ray_cluster

HEAD = {"CPU": 0.0, "node:__internal_head__": 1.0}
GPU = {"CPU": 4.0, "GPU": 1.0}


@pytest.fixture(autouse=True)
def _joins(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "config.yaml"
    kinds = {
        "head": {"resources": {"CPU": 0}, "min_workers": 0, "max_workers": 0},
        "gpu": {"resources": {"CPU": 4, "GPU": 1}, "min_workers": 0, "max_workers": 3},
    }
    path.write_text(json.dumps({"max_workers": 8, "head_node_type": "head", "available_node_types": kinds}))
    return path


@pytest.fixture
def owned(tmp_path):
    path = tmp_path / "config.yaml"
    kind = {"local.cluster.node": {"resources": {}, "min_workers": 2, "max_workers": 2}}
    path.write_text(
        json.dumps({"max_workers": 2, "head_node_type": "local.cluster.node", "available_node_types": kind})
    )
    return path


def test_cluster_grows_to_its_limit_whatever_is_there(cloud):
    for there in range(4):
        assert nodes_to_come([HEAD, *[GPU] * there], cloud) == [GPU] * (3 - there)


def test_more_nodes_than_planned_need_none(cloud):
    assert nodes_to_come([HEAD, *[GPU] * 5], cloud) == []


def test_limit_of_the_whole_cluster_counts(cloud):
    described = json.loads(cloud.read_text()) | {"max_workers": 1}
    cloud.write_text(json.dumps(described))
    assert nodes_to_come([HEAD], cloud) == [GPU]


def test_machines_one_owns_are_known_when_they_join(owned):
    assert nodes_to_come([HEAD], owned) == []


def test_no_description_no_nodes(tmp_path):
    assert nodes_to_come([HEAD], tmp_path / "none") == []
    (tmp_path / "broken").write_text("{")
    assert nodes_to_come([HEAD], tmp_path / "broken") == []


def test_description_means_nothing_where_no_cluster_is_joined(cloud, monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert nodes_to_come([HEAD], cloud) == []


def test_nodes_that_should_be_there_are_waited_for(owned):
    there, said = iter([1, 1, 2, 3, 3]), []
    wait_for_nodes(lambda: next(there), said.append, owned)
    assert said == ["waiting for nodes: 1 of 3 are there"]


def test_nodes_that_do_not_come_are_told_of(owned):
    said = []
    wait_for_nodes(lambda: 2, said.append, owned, patience=0.0)
    assert said[-1].startswith("going on with 2 of 3 nodes")


def test_nodes_that_are_being_installed_are_waited_for_longer(owned):
    there, left, said = iter([1, 1, 1, 3]), iter([2, 1, 0]), []
    wait_for_nodes(lambda: next(there), said.append, owned, installing=lambda: next(left), patience=0.0)
    assert said == ["waiting for nodes: 1 of 3 are there", "going on with 1 of 3 nodes; for the others see: "
                    "ray exec CLUSTER.yaml 'ray status -v'"]  # fmt: skip


def test_the_launchers_status_says_what_is_being_installed():
    pending = [["10.0.0.2", "node", "setting-up"], ["10.0.0.3", "node", "waiting-for-ssh"]]
    assert being_set_up(json.dumps({"autoscaler_report": {"pending_nodes": pending}}).encode()) == 1
    assert being_set_up(None) == being_set_up(b'{"time": 1}') == 0


def test_nothing_is_waited_for_in_a_cloud(cloud):
    said = []
    wait_for_nodes(lambda: 1, said.append, cloud)
    assert said == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [("10.0.0.1:6379", ("10.0.0.1", 6379)), ("[::1]:6379", ("::1", 6379)), ("head:6379", ("head", 6379))],
)
def test_address_of_a_cluster(monkeypatch, named, expected):
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert cluster_address() == expected


def test_cluster_that_listens_at_an_ipv6_address_answers(monkeypatch):
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening:
        monkeypatch.setenv("RAY_ADDRESS", f"[::1]:{listening.getsockname()[1]}")
        assert answers(cluster_address())


@pytest.mark.parametrize("named", ["http://127.0.0.1:8265", "ray://head:10001", "192.0.2.2", "head", "head:port", ":1"])
def test_what_is_no_address_of_a_head_is_told_what_is_expected(monkeypatch, named):
    """Also of the dashboard, for `ray job`, and of Ray's client; not that nothing listens there."""
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(SettingsError, match=f"RAY_ADDRESS '{named}' given; expected HOST:PORT"), ray_cluster():
        pass


def test_a_host_that_cannot_be_does_not_answer(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "a..b:80")
    with pytest.raises(SettingsError, match=r"nothing listens at a\.\.b:80"), ray_cluster():
        pass


@pytest.mark.parametrize("given", [{"TMPDIR": "a"}, {"RAY_TMPDIR": "a"}, {"RAY_TMPDIR": "a", "TMPDIR": "b"}, {}])
def test_a_cluster_that_was_begun_here_is_looked_for_where_ray_writes_it_down(monkeypatch, tmp_path, given):
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in given.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    assert get_default_ray_temp_dir() == str(temporary() / "ray")
    if given:
        (tmp_path / "a" / "ray").mkdir(parents=True)
        (tmp_path / "a" / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
        assert cluster_address() == ("10.0.0.1", 6379)


@pytest.fixture
def own_environment(monkeypatch, tmp_path):
    """What `prepare_environment` sets ends with the test; no cluster was begun here."""
    for name in (*_QUIET, _LOOPBACK):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


@pytest.mark.parametrize("named", ["local", "local ", "", "  "])
def test_ray_of_ones_own_keeps_to_the_loopback_address(own_environment, monkeypatch, tmp_path, named):
    """Also where `local` asks for it beside a cluster that was begun on this machine."""
    monkeypatch.setenv("RAY_ADDRESS", named)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if "local" in named:
            (tmp_path / "ray").mkdir()
            (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{listening.getsockname()[1]}")
        prepare_environment()
        assert not cluster_to_join()
    assert os.environ[_LOOPBACK] == "0"


def test_blanks_around_an_address_are_no_part_of_it(own_environment, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", " 10.0.0.1:6379 ")
    prepare_environment()
    assert os.environ["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert cluster_address() == ("10.0.0.1", 6379)
    assert _LOOPBACK not in os.environ
