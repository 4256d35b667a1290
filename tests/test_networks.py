"""Networks by name: torchvision's, timm's, the user's own; and what of each can be cut."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nasprune.cost import macs_cost, measured_macs
from nasprune.errors import NetworkError, SettingsError
from nasprune.masking import MaskedNetwork
from nasprune.networks import NetworkSettings, build, build_with_widths, couple, torchvision_names
from nasprune.proof import lively
from nasprune.scores import cut_at_budget
from nasprune.state import load_tensors
from nasprune.surgery import derive

# One of each family, small ones; bench/networks.py tries all.
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_y_400mf", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1",
    "timm:ghostnet_100", "timm:hrnet_w18_small", "timm:resnest14d", "timm:lcnet_050", "timm:mixnet_s",
    "timm:convnextv2_atto",
)  # fmt: skip
PAGE = Path(__file__).parent.parent / "docs" / "networks.md"


def settings_of(name, size=96):
    return NetworkSettings(network=name, classes=5, image_size=size)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_is_cut_exactly(name):
    settings = settings_of(name)
    network = lively(build(settings))
    coupling = couple(network, settings)
    cost = macs_cost(coupling)
    scores = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(3))
    least = float(cost(torch.ones_like(cost.sizes))) / cost.full
    cut = cut_at_budget(scores, coupling.group_of, cost, max(0.3, 1.05 * least))
    derived = derive(network, coupling, cut.kept)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        masked = MaskedNetwork(network, coupling)(images, cut.kept.float())
        logits = derived(images)
        assert float((masked - logits).abs().max()) <= 1e-4 * float(logits.abs().max())
        assert not torch.allclose(logits, network(images), rtol=1e-3)
        assert measured_macs(derived, (3, 96, 96)) == int(cut.cost) < cost.full
        rebuilt = build_with_widths(settings, coupling.widths(cut.kept))
        load_tensors(rebuilt, dict(derived.state_dict()))
        assert torch.equal(rebuilt.eval()(images), logits)


def test_page_lists_every_cnn_of_torchvision_and_all_pass():
    rows = dict(re.findall(r"^\| ([\w:.]+) \| (\w+)", PAGE.read_text(), re.MULTILINE))
    assert rows.pop("network") == "passes"  # the head of the table
    missing = {name for name in torchvision_names() if not name.startswith(("vit_", "swin_", "maxvit_"))} - set(rows)
    assert not missing
    assert [name for name, passes in rows.items() if passes != "yes"] == []


class Held(nn.Module):
    """A network whose code holds one width as a number."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.last = nn.Linear(6, num_classes)

    def forward(self, x):
        x = self.first(x)
        x = x.reshape(len(x), 8, *x.shape[2:]).relu()
        return self.last(self.second(x).mean((2, 3)))


def held(num_classes):
    return Held(num_classes)


def stubborn(num_classes):
    network = Held(num_classes)
    network.second, network.last = nn.Identity(), nn.Linear(8, num_classes)
    return network


def without_classes():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 9))


def unlucky(num_classes):
    return {}["depth"]


NOT_A_FUNCTION = 3


def test_users_own_function_is_a_network_and_what_cannot_be_cut_stays_whole():
    settings = settings_of("tests.test_networks:held", 32)
    coupling = couple(build(settings), settings)
    assert [group.name for group in coupling.groups] == ["second"]
    assert coupling.whole["first"] == "the network's own code holds its width as a number"
    rebuilt = build_with_widths(settings, {"second": 2})
    assert rebuilt.second.out_channels == 2


def of_channels(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def grey(num_classes):
    return of_channels(num_classes, 1)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "mobilenet_v3_small", "timm:lcnet_050", "tests.test_networks:held", "tests.test_networks:of_channels"],
)
@pytest.mark.parametrize("bands", [1, 13])
def test_networks_take_any_number_of_bands(name, bands):
    settings = NetworkSettings(network=name, classes=5, image_size=32, bands=bands)
    network = build(settings)
    coupling = couple(network, settings)
    assert network.eval()(torch.zeros(2, bands, 32, 32)).shape == (2, 5)
    widths = {group.name: max(1, group.size // 2) for group in coupling.groups}
    rebuilt = build_with_widths(settings, widths)
    assert next(m for m in rebuilt.modules() if isinstance(m, nn.Conv2d)).in_channels == bands
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), build(settings).parameters(), strict=True))


def test_sums_over_more_bands_stay_as_large():
    images = torch.randn(8, 48, 32, 32, generator=torch.Generator().manual_seed(0))
    few, many = (build(NetworkSettings(network="resnet18", classes=5, image_size=32, bands=b)) for b in (3, 48))
    with torch.no_grad():
        assert float(many.conv1(images).std()) == pytest.approx(float(few.conv1(images[:, :3]).std()), rel=0.05)


def test_a_network_for_other_bands_is_named():
    with pytest.raises(SettingsError, match="images of 4 bands, but its first convolution takes 1; expected"):
        build(NetworkSettings(network="tests.test_networks:grey", classes=5, image_size=32, bands=4))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("resnet19", SettingsError, "network 'resnet19' given; expected resnet10, a classification network"),
        ("timm:resnet19", SettingsError, "timm says"),
        ("tests.test_networks:missing", SettingsError, "has no attribute 'missing'"),
        ("no_such_package:make", SettingsError, "No module named 'no_such_package'"),
        ("tests.test_networks:NOT_A_FUNCTION", SettingsError, "calling it failed"),
        (
            "tests.test_networks:unlucky",
            SettingsError,
            r"calling it failed: 'depth' \(.*test_networks\.py:\d+\); expected",
        ),
        ("tests.test_networks:without_classes", NetworkError, r"output of \(2, 9\) from 2 images; expected \(2, 5\)"),
        ("tests.test_networks:stubborn", NetworkError, "cannot be cut exactly at first: "),
    ],
)
def test_bad_network_is_named(name, error, message):
    with pytest.raises(error, match=message):
        couple(build(settings_of(name, 32)), settings_of(name, 32))


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SettingsError, match="timm is not installed"):
        build(settings_of("timm:resnet18"))
