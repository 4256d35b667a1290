"""What the search's rules promise: scores learn what their start did not know, within the budget, and rest in time."""

from __future__ import annotations

import copy
import importlib
from contextlib import nullcontext
from typing import cast

import pytest
import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.cost import macs_cost
from nasprune.coupling import find_coupling
from nasprune.criteria import Scaling
from nasprune.data.batches import Batches
from nasprune.errors import SettingsError
from nasprune.lessons import AskedLessons
from nasprune.score_rules import Gradient, Saliency
from nasprune.scores import cut_at_budget
from nasprune.search import SearchSettings, search
from nasprune.session import Session
from nasprune.stepping import Step
from nasprune.training import one_cycle
from tests.test_training import Given
from tests.waiting import Crossings, Waits, without_values

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)
USELESS = [1, 4, 5, 10]
"""Channels of the first layer that nothing listens to."""


class Net(nn.Module):
    """Its second layer ignores some channels of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        x = torch.relu(self.first(images))
        x = torch.relu(self.second(x))
        return self.head(torch.flatten(torch.nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Fixed:
    """Twenty batches whose labels the network itself gives."""

    def __init__(self, network: nn.Module) -> None:
        generator = torch.Generator().manual_seed(0)
        images = [torch.randn(16, 3, 8, 8, generator=generator) for _ in range(20)]
        self.batches = [(x, network(x).argmax(1)) for x in images]

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, _: int):
        yield from self.batches


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Net()
    with torch.no_grad():
        network.second.weight[:, USELESS] = 0
    return network.requires_grad_()


@pytest.fixture
def lessons(network):
    teacher = copy.deepcopy(network)
    with torch.no_grad():
        batches = Fixed(teacher)
    return AskedLessons(cast("Batches", batches), COMPUTE, teacher)


def searched(network, lessons, **settings) -> torch.Tensor:
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    given = SearchSettings(**{"epochs": 4, "initial": "random", "weight_learning_rate": 0.0, **settings})
    return search(
        copy.deepcopy(network), coupling, macs_cost(coupling), lessons, 0.7, given, COMPUTE, seed=1, session=Session()
    )


def test_scores_learn_what_their_start_did_not_know(network, lessons):
    """From random scores, with the weights held still: useless channels end below all others of their layer."""
    scores = searched(network, lessons, saliency_epochs=0.5)[:12]
    useful = [c for c in range(12) if c not in USELESS]
    assert scores[USELESS].max() < scores[useful].min()
    start = searched(network, lessons, learn="frozen")[:12]
    assert not start[USELESS].max() < start[useful].min()


def test_frozen_scores_are_those_of_the_criterion(network, lessons):
    assert torch.allclose(searched(network, lessons, learn="frozen"), searched(network, lessons, epochs=0), atol=1e-5)


def gradient(network, **given) -> Gradient:
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    how = {"learning_rate": 0.02, "cost_weight": 0.1, "temperatures": (0.6, 0.05), **given}
    return Gradient(torch.rand(coupling.channels), coupling, macs_cost(coupling), **how)


def test_the_cost_aware_loss_is_expected_over_wanted_macs(network):
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    cost = macs_cost(coupling)
    rule = gradient(network, cost_weight=0.25, temperatures=(1e-3, 1e-3))
    cut = cut_at_budget(rule.scores, coupling.group_of, cost, 0.5)
    mask = rule.mask(cut, done=0.0)
    assert torch.equal(mask.detach(), cut.kept.float())
    assert rule.penalty(0.8).item() == pytest.approx(0.25 * float(cut.cost) / (0.8 * cost.full), rel=1e-3)
    warm = gradient(network)
    warm.mask(cut, done=0.0)
    warm.penalty(0.8).backward()
    assert (warm.scores.grad > 0).all()  # every channel costs: its score is pushed down


def test_a_step_of_the_gradient_has_one_length_for_all_channels_together(network):
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    rule = gradient(network, cost_weight=0.0, temperatures=(100.0, 100.0))  # so warm that all sigmoids are as steep
    before = rule.scores.detach().clone()
    rule.mask(cut_at_budget(rule.scores, coupling.group_of, macs_cost(coupling), 0.5), done=0.0)
    rule.step(torch.linspace(-1e-6, 1e-6, coupling.channels), 0.5, done=0.0)
    moved = rule.scores.detach() - before
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.02, rel=1e-3)
    assert float(moved.abs().max() / moved.abs().min().clamp(min=1e-9)) > 10  # weak gradients move little


def test_scores_rest_once_the_budget_is_reached(network, lessons):
    """With no ramp that is after the first step."""
    start = searched(network, lessons, epochs=0)

    def moved(ramp: float) -> float:
        return float((searched(network, lessons, ramp=ramp, saliency_epochs=1.0) - start).abs().max())

    assert moved(0.0) < 0.5 < moved(1.0)


def test_the_weights_follow_the_masks(network, lessons):
    before = copy.deepcopy(network.state_dict())
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    settings = SearchSettings(epochs=1, initial="l1")
    search(network, coupling, macs_cost(coupling), lessons, 0.7, settings, COMPUTE, seed=1, session=Session())
    assert all(not torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_saliency_averages_what_the_masks_say(network):
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    cost = macs_cost(coupling)
    rule = Saliency(torch.ones(coupling.channels), Scaling(coupling, cost, "global", 1.0), window=10, until=0.5)
    cut = cut_at_budget(torch.rand(coupling.channels), coupling.group_of, cost, 0.5)
    mask = rule.mask(cut, done=0.2)
    assert torch.equal(mask.detach(), cut.kept.float())
    weights = torch.rand(coupling.channels) + 0.1
    (3 * weights * mask).sum().backward()
    assert rule.step(mask.grad, 0.5, done=0.2) == 0  # the threshold weighs the cost, the loss does not
    said = weights**2 / (weights**2).mean()  # relative: the factor 3 says nothing
    expected = 0.9 + 0.1 * said  # one of ten steps
    assert torch.allclose(rule.saliency, expected)
    late = rule.mask(cut, done=0.6)
    assert not late.requires_grad
    rule.step(None, 0.5, done=0.6)
    assert torch.allclose(rule.saliency, expected)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"learn": "guess"}, "search learn 'guess' given"),
        ({"scale": "cost"}, "search scale 'cost' given"),
        ({"initial": "luck"}, "search initial 'luck' given"),
        ({"cost_exponent": -1.0}, "search cost_exponent -1 given"),
        ({"ramp": 1.5}, "search ramp 1.5 given"),
        ({"ramp": float("nan")}, "search ramp nan given"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, word):
    with pytest.raises(SettingsError, match=word):
        SearchSettings(**settings)


@pytest.mark.parametrize("scale", ["global", "uniform"])
@pytest.mark.parametrize("kind", [Saliency, Gradient])
def test_scores_learn_without_waiting_for_a_value(network, kind, scale):
    """A step of the search is then as fast on a GPU as what it computes, not as the way there and back."""
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    cost, group_of, importance = macs_cost(coupling), coupling.group_of, torch.rand(coupling.channels)
    scaling = Scaling(coupling, cost, scale, 1.0)
    rule = gradient(network) if kind is Gradient else Saliency(importance, scaling, window=10, until=1.0)
    with without_values():
        scores = scaling(rule.scores.detach())
        mask = rule.mask(cut_at_budget(scores, group_of, cost, 0.5), 0.1)
        rule.step(torch.ones_like(mask), 0.5, 0.1)
        assert rule.scores.shape == (coupling.channels,)


@pytest.mark.parametrize("learn", ["saliency", "gradient", "frozen"])
def test_a_search_waits_once_an_epoch(network, lessons, learn):
    """For the loss that it reports; not at every step."""

    def waits(epochs: int) -> int:
        with Waits() as counted:
            searched(network, lessons, epochs=epochs, learn=learn)
        return counted.count

    assert waits(3) - waits(2) == 1


class Elsewhere(Compute):
    """A device without values, and without a format of its own."""

    def autocast(self):
        return nullcontext()


class Normed(Net):
    """With statistics, chance and a layer norm, which masks weigh."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rows = nn.BatchNorm2d(12), nn.LayerNorm(8)

    def forward(self, images):
        x = torch.relu(self.second(nn.functional.dropout(self.norm(self.first(images)), 0.1, self.training)))
        return self.head(self.rows(x.mean((2, 3))))


@pytest.mark.parametrize("learn", ["saliency", "gradient", "frozen"])
def test_no_step_of_a_search_brings_anything_from_the_processor(learn, monkeypatch):
    """A recorded step would have it from the place where it lay, and others wait for it to come."""
    optimizers = importlib.import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: ["meta"])
    compute, net = Elsewhere(device=torch.device("meta"), bfloat16=False), Normed()
    coupling, settings = find_coupling(net, torch.zeros(1, 3, 8, 8)), SearchSettings(epochs=1, learn=learn)

    def crossings(batches: int) -> int:
        given = Given(*[(torch.empty(4, 3, 8, 8, device="meta"), torch.empty(4, device="meta").long())] * batches)
        lessons, blocks = AskedLessons(cast("Batches", given), compute, net), torch.tensor([2, 4], device="meta")
        cost = macs_cost(coupling).to(compute.device)
        with Crossings() as counted:
            search(
                copy.deepcopy(net), coupling, cost, lessons, 0.7, settings, compute,
                seed=1, session=Session(), blocks=blocks,
            )  # fmt: skip
        return counted.count

    net.to("meta")
    assert 1 <= crossings(1) == crossings(2)


@pytest.mark.parametrize(
    ("done", "temperature", "length"), [(0.0, 0.6, 0.02), (0.5, (0.6 * 0.05) ** 0.5, 0.01), (1.0, 0.05, 0.0)]
)
def test_the_gradients_sigmoid_grows_colder_and_its_steps_shorter(network, done, temperature, length):
    coupling = find_coupling(network, torch.zeros(1, 3, 8, 8))
    rule = gradient(network)
    cut = cut_at_budget(rule.scores, coupling.group_of, macs_cost(coupling), 0.5)
    before = rule.scores.detach().clone()
    rule.mask(cut, done)
    assert torch.allclose(rule._soft, torch.sigmoid((before - cut.threshold) / temperature))
    rule.step(torch.ones(coupling.channels), 0.5, done)
    moved = rule.scores.detach() - before
    assert float(moved.square().mean().sqrt()) == pytest.approx(length, rel=1e-3, abs=1e-8)


@pytest.fixture
def noted(monkeypatch):
    """Notes what each step of a search asks its threshold and its weights for."""
    asked, rates = [], []

    def cut(scores, group_of, cost, budget, blocks=None):
        asked.append((budget, blocks))
        return cut_at_budget(scores, group_of, cost, budget, blocks)

    class Noted(Step):
        def __call__(self, *given, rate):
            rates.append(rate)
            return super().__call__(*given, rate=rate)

    monkeypatch.setattr("nasprune.search.cut_at_budget", cut)
    monkeypatch.setattr("nasprune.search.Step", Noted)
    return asked, rates


def test_the_budget_falls_log_linearly_over_the_ramp_and_stays(network, lessons, noted):
    searched(network, lessons, epochs=2, ramp=0.5)  # of 20 steps each, to 0.7
    budgets = [budget for budget, _ in noted[0]]
    assert budgets == pytest.approx([0.7 ** (step / 20) for step in range(20)] + [0.7] * 20)


def test_the_rate_of_a_searchs_weights_is_one_cycle(network, lessons, noted):
    searched(network, lessons, epochs=2, weight_learning_rate=0.02)
    assert noted[1] == pytest.approx([0.02 * one_cycle(step / 40, 0.1) for step in range(40)])


def test_blocks_are_cut_whole_at_every_step(network, lessons, noted):
    coupling, blocks = find_coupling(network, torch.zeros(1, 3, 8, 8)), torch.tensor([2, 2])
    settings = SearchSettings(epochs=1, initial="random")
    search(
        network, coupling, macs_cost(coupling), lessons, 0.7, settings, COMPUTE,
        seed=1, session=Session(), blocks=blocks,
    )  # fmt: skip
    assert len(noted[0]) == 20
    assert all(given is blocks for _, given in noted[0])
