"""One call from a network and batches to a smaller network."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from nasprune.descent import DescentSettings
from nasprune.errors import ArtifactError, SettingsError
from nasprune.latency import LatencyTable
from nasprune.pruning import prune
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from tests.striped import NOW, QUICK, one, striped, trained_network


@pytest.fixture(scope="module")
def trained():
    return trained_network()


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


def test_checkpoints_of_another_size_of_images_are_refused(trained, tmp_path):
    one(trained, striped(32), 0.5, settings=NOW, checkpoints=tmp_path)
    with pytest.raises(ArtifactError, match="other settings"):
        list(prune(trained, torch.zeros(2, 3, 12, 12), striped(32), [0.5], settings=NOW, checkpoints=tmp_path))


@pytest.mark.parametrize("frozen", [slice(0, 6), slice(None)])
def test_frozen_layers_heal_like_all_others(trained, frozen):
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    fixed = copy.deepcopy(trained)
    fixed[frozen].requires_grad_(False)
    before = [weight.requires_grad for weight in fixed.parameters()]
    one_way, other = (one(network, striped(32), 0.5, settings=quick).network for network in (trained, fixed))
    assert all(map(torch.equal, one_way.state_dict().values(), other.state_dict().values()))
    assert all(weight.requires_grad for weight in other.parameters())
    assert [weight.requires_grad for weight in fixed.parameters()] == before


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
    for each, other in zip(resumed, call(lambda *_: None, checkpoints=None), strict=True):
        assert each.widths == other.widths
        assert all(map(torch.equal, each.network.state_dict().values(), other.network.state_dict().values()))
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


def test_the_callers_chance_and_device_stay_theirs(trained, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU that does not compute"))
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    example, seen = torch.zeros(2, 3, 16, 16), []

    class Train(list):
        def __iter__(self):
            for batch in super().__iter__():
                seen.append(torch.get_default_device().type)
                yield batch

    train = Train(striped(32))
    torch.default_generator.manual_seed(5)
    before = torch.random.get_rng_state()
    torch.set_default_device("meta")
    try:
        for pruned in prune(trained, example, train, [0.5, 0.4], validation=train, settings=quick, device="cpu"):
            assert torch.equal(torch.random.get_rng_state(), before)
            assert torch.zeros(1).device.type == "meta"
            assert all(weight.device.type == "cpu" for weight in pruned.network.parameters())
    finally:
        torch.set_default_device(None)
    assert set(seen) == {"meta"}


def test_no_epoch_of_a_budget_comes_in_the_order_of_another(trained):
    """Of batches that are drawn from torch's own chance, as those of a DataLoader are."""
    orders = []

    class Drawn(list):
        def __iter__(self):
            orders.append(torch.randperm(50).tolist())
            return super().__iter__()

    settings = dataclasses.replace(QUICK, tuning=TrainingSettings(epochs=3))
    one(trained, Drawn(striped(32)), 0.5, settings=settings)
    _, *searched, _ = orders[:-3]  # the importance comes first, statistics last
    epochs = [*searched, *orders[-3:]]
    assert len(epochs) == 5
    assert all(epochs.count(order) == 1 for order in epochs)


def test_the_callers_chance_changes_nothing_nor_does_a_stop(trained, tmp_path):
    """Though a loader draws the order of its images from it."""

    class StoppedError(Exception):
        pass

    def stop(budget, made):
        if made.phase == "search":
            raise StoppedError

    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    images, labels = (torch.cat(parts) for parts in zip(*striped(96), strict=True))
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)

    def call(chance, **more):
        torch.manual_seed(chance)
        return one(trained, loader, 0.5, settings=quick, **more)

    first, other = call(1), call(2)
    with pytest.raises(StoppedError):
        call(3, report=stop, checkpoints=tmp_path)
    for each in (other, call(4, checkpoints=tmp_path)):
        assert each.widths == first.widths
        assert all(map(torch.equal, each.network.state_dict().values(), first.network.state_dict().values()))


def test_one_at_a_time_works_in_a_folder_of_checkpoints(trained, tmp_path):
    given = {"device": "cpu", "settings": NOW, "checkpoints": str(tmp_path / "way")}
    running, second = (prune(trained, torch.zeros(2, 3, 16, 16), striped(32), [0.5, 0.3], **given) for _ in range(2))
    next(running)
    with pytest.raises(SettingsError, match="way given, in which another call is at work; wait for its end"):
        next(second)
    running.close()
    assert [pruned.budget for pruned in prune(trained, torch.zeros(2, 3, 16, 16), striped(32), [0.5], **given)] == [0.5]
