"""What studies share in a storage reaches every node as it was made: images, dense networks, initial weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import sweep.dense
from nasprune.data.store import check_contents
from nasprune.errors import DataError
from nasprune.record import RECORD
from sweep.commandline import parse_settings
from sweep.storage import bucket as storing
from sweep.storage.bucket import open_storage
from sweep.storage.images import images_of, load_images, node_images
from tests.buckets import Node, write


def test_images_are_packed_once_and_mapped_from_each_nodes_disk(node: Node, settings, tmp_path, monkeypatch):
    node("one")
    packed = images_of(load_images(settings))
    two = node("two")
    monkeypatch.setattr("nasprune.data.loading.scenes.generate", None)  # a node draws and packs nothing
    data = node_images(settings, packed)
    assert data.store.directory.is_relative_to(two.root)
    assert data.store.data_hash == packed.data_hash
    assert list(data.store.directory.glob("statistics-*.json"))
    assert not [name for name in two.names("shared") if "pixels" in name], "each node decodes for itself"
    shutil.rmtree(two.root)  # a lost disk is fetched again
    assert node_images(settings, packed).store.data_hash == packed.data_hash


@pytest.mark.parametrize("again", [False, True])
def test_images_that_arrive_damaged_are_refused(node: Node, settings, again):
    one = node("one")
    data = load_images(settings)
    packed = images_of(data)
    path = data.store.directory / "images.parquet"
    if again:  # a node that had sound ones lost them
        node("two")
        (node_images(settings, packed).store.directory / path.name).unlink()
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 3] ^= 0xFF
    path.write_bytes(spoilt)
    one.store_path(path)
    two = node("two")
    with pytest.raises(DataError, match=r"images\.parquet"):
        node_images(settings, packed)
    assert not (two.root / "shared" / "data" / packed.name).exists()


def test_on_several_hosts_images_are_copied_from_a_shared_folder_too(tmp_path, monkeypatch):
    monkeypatch.setenv(storing.MIRRORS, str(tmp_path / "node"))
    shared = tmp_path / "shared folder"
    settings = parse_settings(["--scenes-per-class", "10", "--image-size", "16", "--storage", str(shared)]).resolved()
    packed = images_of(load_images(settings))
    for hosts, root in (
        (["10.0.0.1"], shared),
        (["10.0.0.1", "10.0.0.1"], shared),
        (["10.0.0.1", "b"], tmp_path / "node"),
    ):
        nodes = [{"NodeManagerAddress": host, "Alive": True} for host in hosts]
        monkeypatch.setattr("ray.nodes", lambda nodes=nodes: nodes)
        assert node_images(settings, packed).store.directory.is_relative_to(root)


def test_other_images_under_the_same_name_are_found(node: Node, settings):
    node("one")
    data = load_images(settings)
    with pytest.raises(DataError, match="not 000000000000"):
        check_contents(data.store.directory, "0" * 64)


def test_of_two_dense_networks_that_were_made_at_once_all_use_the_first(address, tmp_path, monkeypatch):
    """Two drivers on two machines may make the same one; each would answer and prune its own."""
    monkeypatch.setenv(storing.MIRRORS, str(tmp_path / "mine"))
    settings = parse_settings(["--storage", address, "--dense-epochs", "1"]).resolved()
    used = []

    def make(folder, *_given):
        theirs = Path(tmp_path / "theirs")
        with monkeypatch.context() as patch:
            patch.setenv(storing.MIRRORS, str(theirs))
            other = open_storage(address)
            write(other, f"{sweep.dense.DENSE}/key/{RECORD}", "theirs")
            other.store_folder(f"{sweep.dense.DENSE}/key")
        write(settings.place(), f"{sweep.dense.DENSE}/key/{RECORD}", "mine")

    class ReadError(Exception):
        pass

    def read(directory):
        used.append((directory / RECORD).read_text())
        raise ReadError

    monkeypatch.setattr(sweep.dense, "node_images", lambda *_: SimpleNamespace(classes=("a", "b"), bands=3))
    monkeypatch.setattr(sweep.dense, "obtain_dense", make)
    monkeypatch.setattr(sweep.dense, "read_artifact", read)
    with pytest.raises(ReadError):
        sweep.dense._make_dense(settings, "key", None, "", 1, None, {})
    assert used == ["theirs"]


def test_initial_weights_reach_every_node(node: Node, address, tmp_path, monkeypatch):
    from sweep.dense import _shared_weights

    file = tmp_path / "initial.safetensors"
    file.write_bytes(b"weights")
    settings = parse_settings(["--weights", str(file), "--storage", address])
    name = _shared_weights(settings, node("one"))
    two = node("two")
    assert two.fetch_file(name)
    assert (two.root / name).read_bytes() == b"weights"
    assert _shared_weights(parse_settings([]), two) == ""
