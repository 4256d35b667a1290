"""One call from a network and batches to a smaller network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.descent import DescentSettings
from nasprune.errors import NetworkError, SettingsError
from nasprune.pruning import prune
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings

QUICK = DescentSettings(
    search=SearchSettings(epochs=2), tuning=TrainingSettings(epochs=8, learning_rate=0.03), growth=0.0
)


def striped(count):
    """Images whose class is the direction of their stripes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (count,), generator=generator)
    wave = torch.sin(torch.arange(16) * 1.6)
    stripes = torch.where(labels[:, None, None] == 1, wave[None, :, None], wave[None, None, :])
    images = stripes[:, None] + 0.3 * torch.randn(count, 3, 16, 16, generator=generator)
    return [(images[at : at + 16], labels[at : at + 16]) for at in range(0, count, 16)]


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 2),
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        for images, labels in striped(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


def test_prune_gives_a_smaller_network_that_still_works(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    seen = []
    result = prune(
        trained, torch.zeros(2, 3, 16, 16), striped(128), 0.2, validation=striped(64), settings=QUICK,
        device="cpu", report=lambda progress: seen.append((progress.phase, progress.epoch)),
    )  # fmt: skip
    assert result.macs[1] <= 0.2 * result.macs[0]
    assert result.params[1] < result.params[0] == sum(value.numel() for value in trained.parameters())
    assert result.network(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    assert all(weight.stride() == torch.empty(weight.shape).stride() for weight in result.network.parameters())
    assert set(result.widths) == {"0", "3"}
    assert result.whole == {"8": "it makes the network's output"}
    assert result.accuracy[0] == 1.0
    assert result.accuracy[2] > 0.9
    assert seen == [*(("search", number) for number in (1, 2)), *(("tune", number) for number in range(1, 9))]
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_rounded_widths_and_parameters_as_cost(trained):
    how = DescentSettings(
        search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0, cost="params", round_to=4
    )
    result = prune(trained, torch.zeros(2, 3, 16, 16), striped(32), 0.5, settings=how, device="cpu")
    assert result.params[1] <= 0.5 * result.params[0]
    assert all(width % 4 == 0 for width in result.widths.values())


def test_bad_requests_are_named(trained):
    example = torch.zeros(2, 3, 16, 16)
    with pytest.raises(SettingsError, match="already costs"):
        prune(trained, example, striped(32), 1e-4, device="cpu")
    with pytest.raises(SettingsError, match="no batches given"):
        prune(trained, example, [], 0.5, device="cpu")
    with pytest.raises(NetworkError, match="nothing to prune"):
        prune(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), example, striped(32), 0.5, device="cpu")
