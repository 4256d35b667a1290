"""One call from a network and batches to a smaller network."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from nasprune.descent import DescentSettings
from nasprune.errors import ArtifactError, NetworkError, SettingsError
from nasprune.latency import LatencyTable
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


def one(network, train, budget, **more):
    (pruned,) = prune(network, torch.zeros(2, 3, 16, 16), train, [budget], device="cpu", **more)
    return pruned


def test_one_call_descends_to_smaller_networks_that_still_work(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    seen = []
    results = prune(
        trained, torch.zeros(2, 3, 16, 16), striped(128), [0.5, 0.2], validation=striped(64), test=striped(32),
        settings=QUICK, device="cpu", report=lambda budget, made: seen.append((budget, made.phase, made.epoch)),
    )  # fmt: skip
    first = next(results)
    kept = {name: value.clone() for name, value in first.network.state_dict().items()}
    (second,) = results
    assert second.macs_ratio <= 0.2 < first.macs_ratio <= 0.5
    assert second.macs < first.macs
    assert second.params < first.params < sum(value.numel() for value in trained.parameters())
    for result in (first, second):
        assert result.network(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
        assert all(weight.stride() == torch.empty(weight.shape).stride() for weight in result.network.parameters())
        assert set(result.widths) == {"0", "3"}
        assert result.whole == {"8": "it makes the network's output"}
        assert min(result.val_accuracy, result.test_accuracy) > 0.9
    epochs = [("search", number) for number in (1, 2)] + [("tune", number) for number in range(1, 9)]
    assert seen == [(budget, *epoch) for budget in (0.5, 0.2) for epoch in epochs]
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(torch.equal(value, kept[name]) for name, value in first.network.state_dict().items())


def test_rounded_widths_and_parameters_as_cost(trained):
    how = DescentSettings(
        search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0, cost="params", round_to=4
    )
    result = one(trained, striped(32), 0.5, settings=how)
    assert result.params <= 0.5 * sum(value.numel() for value in trained.parameters())
    assert all(width % 4 == 0 for width in result.widths.values())


def test_without_images_to_measure_with_nothing_is_claimed(trained):
    quick = DescentSettings(search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0)
    result = one(trained, striped(32), 0.5, settings=quick)
    assert all(map(math.isnan, (result.recalibrated_val_accuracy, result.val_accuracy, result.test_accuracy)))


class Multiplying(nn.Module):
    """Has a matrix product of its own beside its layers, and four bands."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(4, 12, 3), nn.Conv2d(12, 8, 3), nn.Linear(8, 2)
        self.mixing = nn.Parameter(torch.eye(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.second(self.first(images).relu()).relu().mean((2, 3))
        return self.last(pooled) @ self.mixing


def test_multiply_adds_are_those_of_layers_whatever_else_the_network_multiplies():
    train = [(torch.randn(8, 4, 10, 10), torch.randint(2, (8,))) for _ in range(2)]
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    for pruned in prune(Multiplying(), torch.zeros(2, 4, 10, 10), train, [0.6, 0.3], settings=quick, device="cpu"):
        one, two = pruned.network.first.out_channels, pruned.network.second.out_channels
        assert pruned.macs == 8 * 8 * 4 * one * 9 + 6 * 6 * one * two * 9 + two * 2
        assert pruned.macs_ratio == pruned.macs / (8 * 8 * 4 * 12 * 9 + 6 * 6 * 12 * 8 * 9 + 8 * 2) <= pruned.budget


def test_the_same_call_goes_on_where_it_was_stopped(trained, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(budget, made):
        if budget == 0.2 and made.phase == "tune":
            raise StoppedError

    def call(told, **changed):
        given = {"budgets": [0.5, 0.2], "settings": QUICK, "device": "cpu", "checkpoints": tmp_path} | changed
        return list(prune(trained, torch.zeros(2, 3, 16, 16), striped(64), report=told, **given))

    with pytest.raises(StoppedError):
        call(stop)
    told = []
    resumed = call(lambda budget, made: told.append((budget, made.phase, made.epoch)))
    last = [(0.5, "search", 2), (0.5, "tune", 8), (0.2, "search", 2)]  # of what was done before, told once more
    assert told == [*last, *((0.2, "tune", epoch) for epoch in range(1, 9))]
    for one, other in zip(resumed, call(lambda *_: None, checkpoints=None), strict=True):
        assert one.widths == other.widths
        assert all(map(torch.equal, one.network.state_dict().values(), other.network.state_dict().values()))
    table = LatencyTable(runtime="torch", threads=1, machine="another", layers={})
    others = (
        {"seed": 1},
        {"budgets": [0.6, 0.5]},
        {"settings": dataclasses.replace(QUICK, round_to=2)},
        {"table": table},
    )
    for changed in others:
        with pytest.raises(ArtifactError, match="other settings"):
            call(lambda *_: None, **changed)


STRAIGHT = DescentSettings(
    search=SearchSettings(epochs=0, initial="l1"), tuning=TrainingSettings(epochs=1, learning_rate=1e-6), growth=0.0
)


def test_right_after_a_cut_statistics_are_taken_afresh(trained):
    """The old ones describe what flows no more: here they are spoilt, and the network guesses."""
    network = copy.deepcopy(trained)
    network[4].running_mean.fill_(1e3)
    result = one(network, striped(64), 0.9, validation=striped(64), settings=STRAIGHT)
    assert result.recalibrated_val_accuracy > 0.8


def test_the_cost_ratio_is_of_what_budgets_are_shares_of(trained):
    result = one(trained, striped(32), 0.5, settings=dataclasses.replace(STRAIGHT, cost="params"))
    assert result.cost_ratio == result.params / sum(value.numel() for value in trained.parameters())
    assert result.cost_ratio != result.macs_ratio


def test_checkpoints_of_another_network_are_refused(trained, tmp_path):
    one(trained, striped(32), 0.5, settings=STRAIGHT, checkpoints=tmp_path)
    other = copy.deepcopy(trained)
    other[8].weight.data.mul_(2)
    with pytest.raises(ArtifactError, match="other settings"):
        one(other, striped(32), 0.5, settings=STRAIGHT, checkpoints=tmp_path)


def test_tuning_goes_on_with_the_epochs_after_the_searchs(trained, monkeypatch):
    """Batches that are drawn by the number of their epoch come in an order that the search has not seen."""
    begun = []
    monkeypatch.setattr("nasprune.descent.fit", lambda *_given, first_epoch, **_how: begun.append(first_epoch))
    one(trained, striped(32), 0.5, settings=dataclasses.replace(QUICK, search=SearchSettings(epochs=3)))
    assert begun == [3]


class Stream(IterableDataset):
    """Does not know its length."""

    def __iter__(self):
        return ((image, label) for images, labels in striped(64) for image, label in zip(images, labels, strict=True))


def test_loaders_are_asked_their_length_or_run_through_once(trained):
    quick = DescentSettings(search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0)
    asked = []

    class Counted(list):
        def __iter__(self):
            asked.append("run through")
            return super().__iter__()

    one(trained, DataLoader(Stream(), batch_size=16), 0.5, settings=quick)
    one(trained, striped(32), 0.5, validation=Counted(striped(32)), settings=quick)
    assert len(asked) == 2  # right after the cut, and tuned


def test_bad_requests_are_named(trained):
    with pytest.raises(SettingsError, match="already costs"):
        one(trained, striped(32), 1e-4)
    with pytest.raises(SettingsError, match="no batches given"):
        one(trained, [], 0.5)
    with pytest.raises(SettingsError, match="an iterator given"):
        one(trained, iter(striped(32)), 0.5)
    with pytest.raises(NetworkError, match="nothing to prune"):
        prune(
            nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), torch.zeros(2, 3, 16, 16), striped(32), [0.5], device="cpu"
        )
