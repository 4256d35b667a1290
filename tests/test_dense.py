"""The dense network's key: another one wherever another network would come out, and no other without need."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nasprune.compute import choose_compute
from nasprune.dense import DenseSettings, dense_key, obtain_dense
from nasprune.errors import DataError
from nasprune.networks import NetworkSettings
from nasprune.training import TrainingSettings

DATA = SimpleNamespace(
    store=SimpleNamespace(data_hash="d" * 64),
    settings=SimpleNamespace(bands="rgb"),
    split=SimpleNamespace(train=np.arange(3), validation=np.arange(1), test=np.arange(2)),
)


def key(network: str) -> str:
    settings = NetworkSettings(network=network, classes=3, image_size=32)
    return dense_key(DenseSettings(network=settings, training=TrainingSettings(epochs=1)), DATA)


def test_a_network_whose_code_has_changed_is_trained_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "network_that_changes.py"
    code.write_text("activation = 'ReLU'\n")
    first = key("network_that_changes:make")
    assert key("network_that_changes:make") == first
    code.write_text("activation = 'Tanh'\n")
    assert key("network_that_changes:make") != first


def test_a_network_of_another_version_of_timm_is_trained_anew(monkeypatch):
    keys = set()
    for version in ("1.0.20", "1.0.31"):
        monkeypatch.setattr("nasprune.sources.version", lambda _, version=version: version)
        keys.add(key("timm:resnet18"))
    assert len(keys) == 2


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    settings = NetworkSettings(network="resnet18", classes=3, image_size=32)
    with pytest.raises(DataError, match=f"^cannot write in {tmp_path / 'file'}"):
        obtain_dense(
            tmp_path / "file",
            DenseSettings(network=settings, training=TrainingSettings(epochs=1)),
            DATA,
            choose_compute("cpu"),
        )


def test_a_stored_network_of_torchvision_is_found_by_its_key():
    """Whoever changes it has every dense network trained again."""
    assert key("resnet18") == "5593c81c3c4108b8"
