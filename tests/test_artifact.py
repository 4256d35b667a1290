"""Damaged files are refused with one line that names them."""

from __future__ import annotations

import json
import pickle

import pytest
from safetensors.torch import load_file, save_file

from nasprune.artifact import read_artifact, write_artifact
from nasprune.errors import ArtifactError
from nasprune.networks import NetworkSettings, build
from nasprune.runtime import check_onnx, onnx_session

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
