"""What several test files stand on."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from nasprune.artifact import write_artifact
from nasprune.networks import NetworkSettings, build, couple

if TYPE_CHECKING:
    from collections.abc import Mapping

REAL = "NASPRUNE_DATA"

# Ray reads it when it is imported, here before anything of ours: under `uv run` it would build an environment of 7 GB.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Ray's own 15 is for desks: beside another process of tests a study's workers would wait for it to the end.
os.environ.setdefault("RAY_worker_niceness", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole studies first: two processes of tests then end together, and not one minutes after the other.

    Under xdist with `--no-loadscope-reorder`, or it begins with the files of most tests, which are short ones.
    """
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


@pytest.fixture(autouse=True, scope="session")
def _ray_of_its_own():
    """Where another process runs tests beside this one: a study joins whatever cluster this folder names."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets: short
        os.environ["RAY_TMPDIR"] = folder
        yield


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    """Of this process, or one where another runs tests beside it: threads that wait for a core spin."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the programs that tests start
        torch.set_num_threads(1)
    else:
        torch.set_num_threads(2)


@pytest.fixture
def port() -> int:
    """One where nothing listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it are skipped where it is not given."""
    given = os.environ.get(REAL)
    if not given:
        pytest.skip(f"{REAL} is not set to a folder with UCMerced_LandUse.zip, AID.zip, ...")
    return Path(given).resolve()


NETWORKS = (
    ("resnet10", "original"),
    ("resnet18", "original"),
    ("resnet34", "original"),
    ("resnet50", "original"),
    ("vgg16", "original"),
    ("vgg16", "pooled"),
    ("vgg16_bn", "pooled"),
)


def settings_of(name: str, head: str) -> NetworkSettings:
    return NetworkSettings(network=name, head=head, classes=7, image_size=32)


@functools.lru_cache(maxsize=1)
def lively(name: str, head: str) -> nn.Module:
    """A network whose every weight and statistic matters, in evaluation mode. Not to be changed."""
    network = build(settings_of(name, head), seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                tensor.data.copy_(low + torch.rand(tensor.shape, generator=generator))
            module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=generator) - 0.5)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.data.copy_(torch.rand(module.bias.shape, generator=generator) * 0.2 - 0.1)
    return network.eval()


@pytest.fixture
def point(tmp_path: Path, _point: Path) -> Path:
    """The folder of a point of three classes and 16 px, as a study leaves it; its figures mean nothing."""
    return Path(shutil.copytree(_point, tmp_path / "p"))


@pytest.fixture(scope="session")
def _point(tmp_path_factory) -> Path:
    """Exporting it takes seconds, copying it none."""
    tmp_path = tmp_path_factory.mktemp("point")
    settings = NetworkSettings(network="resnet10", classes=3, image_size=16)
    network = build(settings)
    widths = {group.name: group.size for group in couple(network, settings).groups}
    write_artifact(tmp_path / "p", network, record_of(settings, widths))
    return tmp_path / "p"


def record_of(settings: NetworkSettings, widths: Mapping[str, int]) -> dict[str, Any]:
    """The record of a point of three classes; its figures mean nothing."""
    return {
        "point": "p", "network": settings.network, "head": settings.head, "dataset": "folder",
        "classes": ["a", "b", "c"], "image_size": settings.image_size, "bands": 3, "bit_depth": 8,
        "statistics": {"mean": [0.5, 0.5, 0.5], "deviation": [0.2, 0.2, 0.2]},
        "val_images": 8, "widths": dict(widths),
        "macs": 1, "macs_ratio": 1.0, "params": 1, "val_accuracy": 0.5, "test_accuracy": 0.5, "test_confusion": {},
        "worst_class_test_accuracy": 0.5, "data": {"bands": "rgb"}, "provenance": {},
    }  # fmt: skip
