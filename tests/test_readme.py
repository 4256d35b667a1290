"""The Python in the README is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from nasprune.artifact import write_artifact
from nasprune.networks import NetworkSettings, build, couple

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
    exec(BLOCKS[0], {"torch": torch, "network": network, "train_loader": loader, "validation_loader": loader})
    assert {path.name for path in tmp_path.glob("*.onnx")} == {f"pruned-{b}.onnx" for b in (0.5, 0.25, 0.1)}
    assert capsys.readouterr().out.count("of the MACs") == 3


def test_a_point_is_a_module_again(tmp_path, capsys):
    settings = NetworkSettings(network="resnet10", classes=3, image_size=64)
    network = build(settings)
    record = {
        "point": "t000-10pct", "network": "resnet10", "head": "original", "dataset": "ucm", "classes": ["a", "b", "c"],
        "image_size": 64, "statistics": {"mean": [0.5, 0.5, 0.5], "deviation": [0.2, 0.2, 0.2]},
        "widths": {group.name: group.size for group in couple(network, settings).groups},
        "macs": 1, "macs_ratio": 1.0, "params": 1, "val_accuracy": 0.5, "test_accuracy": 0.5, "data": {},
        "provenance": {},
    }  # fmt: skip
    write_artifact(tmp_path / "runs/ucm-resnet18/points/t000-10pct", network, record, onnx=False)
    names = {"torch": torch}
    exec(BLOCKS[1], names)
    assert torch.equal(names["logits"], network.eval()(torch.zeros(1, 3, 64, 64)))
    assert "conv1" in capsys.readouterr().out


def test_there_is_no_other_code():
    assert len(BLOCKS) == 2
