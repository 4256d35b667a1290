"""Damaged files are refused with one line that names them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nasprune.artifact import read_artifact, write_artifact
from nasprune.data.statistics import Statistics
from nasprune.errors import ArtifactError
from nasprune.export import export_onnx
from nasprune.networks import NetworkSettings, build, count_parameters, couple
from nasprune.proof import lively
from nasprune.runtime import check_onnx, onnx_session
from nasprune.surgery import derive
from tests.conftest import record_of

SETTINGS = NetworkSettings(network="resnet10", classes=3, image_size=16)


def change(point, **values):
    path = point / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(point):
    path = point / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def pickled(point):
    (point / "weights.safetensors").write_bytes(pickle.dumps({"weight": 1}))


def other_widths(point):
    widths = json.loads((point / "point.json").read_text())["widths"]
    change(point, widths=widths | {"conv1": 5})


def missing_tensor(point):
    path = point / "weights.safetensors"
    weights = load_file(path)
    weights.pop("fc.bias")
    save_file(weights, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "not a readable safetensors file"),
        (pickled, "not a readable safetensors file"),
        (other_widths, "does not fit the widths"),
        (missing_tensor, "does not fit the widths"),
        (lambda p: change(p, widths={"conv1": 64}), "does not fit the widths"),
        (lambda p: change(p, classes=["a", "b"]), "does not fit the widths"),
        (lambda p: change(p, network="resnet99"), "does not fit the widths.*resnet99"),
        (lambda p: change(p, macs=None), "lacks a usable 'macs'"),
        (lambda p: (p / "point.json").write_text("{"), "not valid JSON"),
        (lambda p: (p / "point.json").unlink(), "expected a point's folder"),
        (lambda p: (p / "weights.safetensors").unlink(), "not a readable safetensors file"),
    ],
)
def test_damage_is_named(point, damage, message):
    damage(point)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_artifact(point)
    assert "\n" not in str(caught.value)


def test_an_onnx_file_of_another_network_is_named(point, tmp_path):
    check_onnx(point / "model.onnx", classes=3, image_size=16, bands=3)
    for classes, image_size, bands in ((4, 16, 3), (3, 32, 3), (3, 16, 4)):
        with pytest.raises(ArtifactError, match=rf"logits \(batch, 3\); expected .*\(batch, {classes}\)") as caught:
            check_onnx(point / "model.onnx", classes=classes, image_size=image_size, bands=bands)
        assert "\n" not in str(caught.value)


def test_an_onnx_file_says_what_it_takes_and_what_its_logits_are(point):
    said = onnx_session(point / "model.onnx").get_modelmeta().custom_metadata_map
    assert said == {"point": "p", "dataset": "folder", "input": "RGB in [0, 1]", "classes": '["a", "b", "c"]'}


class Holding(nn.Module):
    """Holds tensors that `state_dict` leaves out: buffers, one of them a number for each channel, and an attribute."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, num_classes)
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("gain", torch.linspace(1, 2, 8).reshape(8, 1, 1), persistent=False)
        self.deviation = torch.tensor([0.2, 0.3, 0.4]).reshape(3, 1, 1)

    def forward(self, images):
        images = (images - self.mean) / self.deviation
        return self.last(self.second((self.first(images) * self.gain).relu()).relu().mean((2, 3)))


def stored(folder, name):
    """Every second channel of the network of that name, and what is read back once it was written."""
    settings = NetworkSettings(network=f"tests.test_artifact:{name}", classes=3, image_size=16)
    network = lively(build(settings, seed=1))
    coupling = couple(network, settings)
    kept = torch.arange(coupling.channels) % 2 == 1
    derived = derive(network, coupling, kept)
    write_artifact(folder / "p", derived, record_of(settings, coupling.widths(kept)), onnx=False)
    return derived, read_artifact(folder / "p").network


def alike(one, other):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return torch.equal(one(images), other(images))


def test_a_network_comes_back_with_all_that_it_computes_with(tmp_path):
    assert alike(*stored(tmp_path, "Holding"))


class Tied(nn.Module):
    """Has a module under two names, and one weight in two layers."""

    def __init__(self, num_classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
        self.stem = self.backbone[0]
        self.backbone[3].weight = self.backbone[2].weight
        self.last = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.last(self.backbone[1:](self.stem(images)).relu().mean((2, 3)))


def test_what_torch_knows_of_onnx_is_read_for_the_first_file_alone(tmp_path, monkeypatch):
    """Reading takes as long as the rest of a small network's file. A caller's own exports share nothing with ours."""
    from torch.onnx._internal.exporter import _registration

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    statistics = Statistics(mean=[0.5] * 3, deviation=[0.2] * 3)
    export_onnx(network, statistics, 8, tmp_path / "first")
    ours, read = _registration.onnxscript_apis.get_torchlib_ops, []
    monkeypatch.setattr(_registration.onnxscript_apis, "get_torchlib_ops", lambda: read.append(1) or ours())
    export_onnx(network, statistics, 8, tmp_path / "second")
    assert not read
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    registry = _registration.ONNXRegistry
    assert registry.from_torchlib() is not registry.from_torchlib()
    assert len(read) == 2


def test_what_has_two_names_comes_back_as_one(tmp_path):
    written, read = stored(tmp_path, "Tied")
    assert alike(written, read)
    assert read.stem is read.backbone[0]
    assert read.backbone[2].weight is read.backbone[3].weight
    assert count_parameters(read) == count_parameters(written)


def test_a_point_has_its_name_once_all_of_it_is_on_the_disk(tmp_path, monkeypatch):
    """A power cut leaves what was flushed, and perhaps a name."""
    flushed, named = set(), []
    flush, rename = os.fsync, Path.replace

    def flushing(descriptor):
        flushed.add(os.fstat(descriptor).st_ino)
        flush(descriptor)

    def renaming(path, target):
        named.append({each.stat().st_ino for each in (path, *path.iterdir())} - flushed)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "replace", renaming)
    stored(tmp_path, "Tied")
    assert named == [set()]
    assert tmp_path.stat().st_ino in flushed


def test_nothing_half_written_where_there_is_no_room(tmp_path):
    (tmp_path / "points").write_text("a file where the folder should be")
    with pytest.raises(ArtifactError, match="cannot write"):
        write_artifact(
            tmp_path / "points" / "p",
            build(SETTINGS),
            {"statistics": {"mean": [0.5] * 3, "deviation": [1.0] * 3}},
        )
    assert [path.name for path in tmp_path.iterdir()] == ["points"]


def test_a_point_read_back_is_in_evaluation_mode(point):
    assert not any(module.training for module in read_artifact(point).network.modules())


def test_a_point_whose_writing_was_killed_does_not_exist(point, tmp_path, monkeypatch):
    known, there = read_artifact(point), []

    def killed(*_given, **_how):
        there.append((tmp_path / "q").exists())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nasprune.artifact.export_onnx", killed)
        with pytest.raises(KeyboardInterrupt):
            write_artifact(tmp_path / "q", known.network, known.record)
    assert there == [False]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
