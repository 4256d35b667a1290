"""The Python in the README is run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import nn

from nasprune.data.decode import decode
from nasprune.record import read_record
from tests.data.scene_files import encode, pixels

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parent.parent / "README.md").read_text(), re.DOTALL | re.M
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_network_of_ones_own_is_pruned(tmp_path, capsys):
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    loader = [(torch.randn(4, 4, 64, 64), torch.tensor([0, 1, 2, 0]))]
    exec(BLOCKS[1], {"network": network, "train_loader": loader, "validation_loader": loader})
    assert {path.name for path in tmp_path.iterdir()} == {f"pruned-{b}.onnx" for b in (0.5, 0.25, 0.1)}
    assert capsys.readouterr().out.count("of the MACs") == 3


def test_a_point_is_a_module_again(point, tmp_path, capsys):
    (tmp_path / "runs/ucm-resnet18/points").mkdir(parents=True)
    point.rename(tmp_path / "runs/ucm-resnet18/points/t000-10pct")
    names: dict = {}
    exec(BLOCKS[2], names)
    assert names["logits"].shape == (1, 3)
    assert "conv1" in capsys.readouterr().out


def on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def test_a_file_for_the_board_names_the_class_of_a_scene(point, tmp_path, capsys):
    (tmp_path / "runs/ucm-resnet18/points/t000-10pct").mkdir(parents=True)
    (point / "model.onnx").rename(tmp_path / "runs/ucm-resnet18/points/t000-10pct/board_int8.onnx")
    scene = encode(pixels(0, (70, 50)), exif=on_its_side())
    (tmp_path / "scene.png").write_bytes(scene)
    names: dict = {}
    exec(BLOCKS[0], names)
    trained_on = decode("scene.png", scene, 16)
    assert np.array_equal(np.rint(255 * names["image"]), trained_on.transpose(2, 0, 1)[None])
    assert capsys.readouterr().out.strip() in read_record(point)["classes"]


def test_there_is_no_other_code():
    assert len(BLOCKS) == 3
