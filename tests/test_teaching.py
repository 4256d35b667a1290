"""Laws that training and the search share: who teaches, by how much, when, and that a stop changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasprune.compute import Compute
from nasprune.cost import macs_cost
from nasprune.coupling import find_coupling
from nasprune.criteria import CRITERIA
from nasprune.search import SearchSettings, search
from nasprune.session import Session
from nasprune.training import TrainingSettings, fit, one_cycle, sgd

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)
KINDS = pytest.mark.parametrize("kind", ["search", "tune"])


class Net(nn.Module):
    """Loses some of its features by chance, if asked to."""

    def __init__(self, chance: float = 0.0) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 3)
        self.chance = chance

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.first(images)).relu().mean((2, 3))
        return self.head(F.dropout(features, self.chance, self.training))


def fresh(chance: float = 0.0) -> Net:
    torch.manual_seed(0)
    return Net(chance)


class Taught:
    """Lessons of the same images always; labels and what a teacher says are as seeded. Notes the epochs asked for."""

    def __init__(self, count: int = 3, *, labels: int = 0, said: int = 0) -> None:
        images, names, answers = (torch.Generator().manual_seed(seed) for seed in (1, labels, said))
        self.all = [
            (
                torch.randn(8, 3, 5, 5, generator=images),
                torch.randint(3, (8,), generator=names),
                torch.randn(8, 3, generator=answers),
            )
            for _ in range(count)
        ]
        self.asked: list[int] = []
        self.batches = self

    def __len__(self) -> int:
        return len(self.all)

    def epoch(self, number: int):
        self.asked.append(number)
        yield from self.all


class Untaught(Taught):
    """The same without a teacher."""

    def epoch(self, number: int):
        for images, labels, _ in super().epoch(number):
            yield images, labels, None


def flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def learned(kind: str, network: nn.Module, lessons: Taught, session: Session | None = None, **settings) -> torch.Tensor:
    """The weights after a search or a tuning; the network given stays as it is."""
    network, session = copy.deepcopy(network), session or Session()
    if kind == "tune":
        how = TrainingSettings(**{"epochs": 2, "learning_rate": 0.1, **settings})
        fit(network, lessons, how, COMPUTE, phase="tune", seed=1, session=session)
    else:
        coupling = find_coupling(network, torch.zeros(1, 3, 5, 5))
        chosen = SearchSettings(**{"epochs": 2, "initial": "random", **settings})
        search(network, coupling, macs_cost(coupling), lessons, 0.7, chosen, COMPUTE, seed=1, session=session)
    return flat(network)


@KINDS
@pytest.mark.parametrize(
    ("share", "labels_teach", "teacher_teaches"), [(0.0, True, False), (0.5, True, True), (1.0, False, True)]
)
def test_labels_and_teacher_teach_by_their_shares(kind, share, labels_teach, teacher_teaches):
    def after(**seeds: int) -> torch.Tensor:
        return learned(kind, fresh(), Taught(**seeds), distillation=share)

    before = after(labels=1, said=5)
    assert torch.equal(before, after(labels=2, said=5)) is not labels_teach
    assert torch.equal(before, after(labels=1, said=6)) is not teacher_teaches


@KINDS
def test_chance_after_a_stop_is_what_it_would_have_been(tmp_path, kind):
    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise StoppedError

    network = fresh(chance=0.5)
    undisturbed = learned(kind, network, Taught(), epochs=4)
    with pytest.raises(StoppedError):
        learned(kind, network, Taught(), Session(tmp_path, stop, seconds_between=0), epochs=4)
    torch.rand(7)  # another process stands elsewhere in its own chance
    assert torch.equal(learned(kind, network, Taught(), Session(tmp_path), epochs=4), undisturbed)


def test_without_a_teacher_labels_are_smoothed():
    lessons, told = Untaught(1), []
    ((images, labels, _),) = lessons.all
    wanted = F.cross_entropy(fresh()(images), labels, label_smoothing=0.3).detach()
    learned("tune", fresh(), lessons, Session(None, told.append), epochs=1, label_smoothing=0.3)
    assert told[0].metrics["loss"] == pytest.approx(float(wanted), rel=1e-5)


def test_weights_of_layers_decay_and_nothing_else():
    network = fresh()
    groups = sgd(network, TrainingSettings(epochs=1, weight_decay=0.02)).param_groups
    decay = {weight: group["weight_decay"] for group in groups for weight in group["params"]}
    assert {name: decay[weight] for name, weight in network.named_parameters()} == {
        "first.weight": 0.02, "first.bias": 0.0, "norm.weight": 0.0, "norm.bias": 0.0, "head.weight": 0.02,
        "head.bias": 0.0,
    }  # fmt: skip


def test_tuning_begins_with_the_epoch_that_it_is_given():
    lessons = Taught(1)
    fit(fresh(), lessons, TrainingSettings(epochs=2), COMPUTE, phase="tune", seed=0, session=Session(), first_epoch=3)
    assert lessons.asked == [3, 4]


def test_a_step_of_training_is_clipped_as_the_settings_say():
    network = fresh()
    moved = learned("tune", network, Taught(1), epochs=1, learning_rate=0.5, clip=0.01, weight_decay=0.0) - flat(
        network
    )
    # Nesterov's first step: the gradient and 0.9 of it again, which is the momentum by then.
    assert float(moved.norm()) == pytest.approx(0.5 * one_cycle(0, 0.2) * 1.9 * 0.01, rel=1e-2)


def test_a_resumed_search_asks_its_criterion_no_more(tmp_path, monkeypatch):
    """Sums that a GPU takes in another order would give other scores."""
    asked, known = [], CRITERIA["random"]
    monkeypatch.setitem(CRITERIA, "random", lambda *given: asked.append(1) or known(*given))
    for _ in range(2):
        learned("search", fresh(), Taught(1), Session(tmp_path))
    assert len(asked) == 1
