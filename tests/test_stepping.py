"""A step is SGD's, whether it is launched kernel by kernel or recorded and launched whole."""

from __future__ import annotations

import copy
import random
import types
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasprune.chance import HostChance
from nasprune.compute import Compute, choose_compute
from nasprune.stepping import Step, _Captured
from nasprune.training import TrainingSettings, sgd

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = TrainingSettings(epochs=1, learning_rate=0.1)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="steps are recorded on a GPU, and torch sees none")


class Net(nn.Module):
    """With what a recording has to get right: batch norm's statistics and chance."""

    def __init__(self, *, waits: bool = False, draws: bool = False, keeps: str | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        self.waits, self.draws, self.keeps = waits, draws, keeps
        self.mask: torch.Tensor | None = None
        self.calls, self.seen = 0, [0]
        self.register_buffer("mean", torch.zeros(8))

    @contextmanager
    def under(self, mask: torch.Tensor) -> Iterator[None]:
        self.mask = mask
        yield
        self.mask = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.dropout(torch.relu(self.norm(self.first(images))).mean((2, 3)), 0.2, self.training)
        if self.waits and float(features.detach().sum()) < 0:
            raise AssertionError("a sum of what is at least 0")
        if self.keeps is not None:
            KEEPING[self.keeps](self, features.detach())
        if self.draws and random.random() < 0.5:
            features = features * 2
        return self.head(features if self.mask is None else features * self.mask)


def counted(net, _):
    net.calls += 1


def counted_in_a_list(net, _):
    net.seen[0] += 1


def replaced(net, features):
    net.mean = 0.9 * net.mean + 0.1 * features.mean(0)


def moved(net, _):
    net.head.weight.data = torch.renorm(net.head.weight.data, 2, 0, 1.0)


def changed_in_place(net, features):
    net.mean.lerp_(features.mean(0), 0.1)


KEEPING = {way.__name__: way for way in (counted, counted_in_a_list, replaced, moved, changed_in_place)}


def cross_entropy(logits, labels, taught):
    return F.cross_entropy(logits.float(), labels) + (0 if taught is None else F.mse_loss(logits.float(), taught))


def trained(
    compute: Compute,
    *,
    waits: bool = False,
    draws: bool = False,
    keeps: str | None = None,
    masked: bool = False,
    taught: bool = False,
    **given: bool,
):
    """Losses, the masks' gradients and the state after two epochs of six batches, the last of each a short one."""
    torch.manual_seed(0)
    random.seed(0)
    network = compute.place(Net(waits=waits, draws=draws, keeps=keeps)).train()
    optimizer = sgd(network, SETTINGS)
    step = Step(network, cross_entropy, optimizer, clip=1.0, compute=compute, under=network.under, **given)
    chance = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(size, 3, 12, 12, generator=chance), torch.randint(4, (size,), generator=chance))
        for size in (8, 8, 8, 8, 8, 5)
    ]
    told = []
    for epoch in range(2):
        torch.manual_seed(epoch)
        for index, (images, labels) in enumerate(batches):
            mask = torch.linspace(0, 1, 8, device=compute.device).requires_grad_(index % 2 == 0) if masked else None
            answers = torch.ones(len(labels), 4, device=compute.device) if taught else None
            stepped = step(
                images.to(compute.device), labels.to(compute.device), answers, mask, rate=0.1 / (1 + index)
            )  # fmt: skip
            told.append(stepped.loss.clone())
            if stepped.mask_gradient is not None:
                told.append(stepped.mask_gradient.clone())
    return told, network.state_dict()


def same(one, other) -> bool:
    (told, state), (again, also) = one, other
    return all(torch.equal(a, b) for a, b in zip(told, again, strict=True)) and all(
        torch.equal(state[name], also[name]) for name in state
    )


CPU = Compute(device=torch.device("cpu"), bfloat16=False)


def test_a_step_is_one_of_sgd_with_its_gradient_clipped():
    torch.manual_seed(0)
    network = Net().eval()  # no chance, no statistics
    twin = copy.deepcopy(network)
    images, labels, mask = torch.randn(8, 3, 12, 12), torch.randint(4, (8,)), torch.rand(8, requires_grad=True)
    step = Step(network, cross_entropy, sgd(network, SETTINGS), clip=0.01, compute=CPU, under=network.under)
    stepped = step(images, labels, None, mask, rate=0.5)
    with twin.under(mask):
        loss = cross_entropy(twin(images), labels, None)
    loss.backward()
    assert torch.equal(stepped.loss, loss.detach())
    assert torch.equal(stepped.mask_gradient, mask.grad)
    norm = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
    assert norm > 0.01
    slope = twin.head.bias.grad * 0.01 / norm
    # Nesterov's first step: the gradient and 0.9 of it again, which is the momentum by then.
    assert torch.allclose(network.head.bias, twin.head.bias - 0.5 * 1.9 * slope, atol=1e-6)


def test_a_mask_that_asks_for_no_gradient_gets_none():
    told, _ = trained(CPU, masked=True)
    assert len(told) == 12 + 6


@on_gpu
@pytest.mark.parametrize(
    ("given", "kinds"),
    [({}, 1), ({"masked": True}, 2), ({"taught": True, "masked": True}, 2)],  # of the short batch are too few
)
def test_recorded_steps_do_what_ordinary_ones_do(given, kinds, monkeypatch):
    compute, made = choose_compute("cuda"), []
    monkeypatch.setattr(Step, "_capture", lambda step, given, of=Step._capture: made.append(1) or of(step, given))
    one = trained(compute, **given)
    assert len(made) == kinds
    assert same(one, trained(compute, graphs=False, **given))


@on_gpu
def test_a_network_that_waits_for_the_gpu_is_trained_all_the_same():
    compute = choose_compute("cuda")
    assert same(trained(compute, waits=True), trained(compute, graphs=False))


@on_gpu
def test_a_network_that_draws_on_the_processor_draws_at_every_step():
    compute = choose_compute("cuda")
    assert same(trained(compute, draws=True), trained(compute, draws=True, graphs=False))


@pytest.mark.parametrize(
    ("run", "draws"),
    [
        (random.random, True),
        (lambda: np.random.rand(), True),  # noqa: NPY002 (what is watched)
        (lambda: torch.rand(1).item(), True),
        (lambda: Net().train()(torch.ones(2, 3, 4, 4)), True),
        (lambda: torch.zeros(3).sum().item(), False),
        (lambda: torch.rand(1, generator=torch.Generator().manual_seed(0)), False),
    ],
)
def test_chance_on_the_processor_is_seen(run, draws):
    with HostChance() as chance:
        run()
    assert chance.drawn == draws


@pytest.fixture
def recorded(monkeypatch):
    """As on a GPU, with recordings of which only the first can be made: references to their graphs."""

    class Graph:
        def replay(self):
            pass

    graphs = []

    def capture(step, given):
        if graphs:
            raise RuntimeError("may not be done while recording")
        captured = _Captured(Graph(), given, step._ordinary(*given))
        graphs.append(weakref.ref(captured.graph))
        return captured

    generator = types.SimpleNamespace(clone_state=lambda: None, graphsafe_set_state=lambda state: None)
    monkeypatch.setattr(torch.cuda, "default_generators", [generator])
    for name in ("current_device", "synchronize", "get_sync_debug_mode", "set_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 0)
    monkeypatch.setattr(Step, "_capture", capture)
    return graphs


def steps(network, *counts):
    """Five with so many images each."""
    step = Step(network, cross_entropy, sgd(network, SETTINGS), clip=1.0, compute=CPU)
    step._graphs = True
    for count in counts:
        for _ in range(5):
            step(torch.ones(count, 3, 8, 8), torch.zeros(count, dtype=torch.long), rate=0.1)
    return step


@pytest.mark.parametrize("draws", [True, False])
def test_a_step_that_draws_on_the_processor_is_not_recorded(recorded, draws):
    steps(Net(draws=draws).eval(), 4)
    assert len(recorded) == (0 if draws else 1)


@pytest.mark.parametrize("keeps", KEEPING)
def test_a_step_whose_network_keeps_something_by_code_is_not_recorded(recorded, keeps):
    """Or all launches would take the same count, and a buffer that has left its place would be read there for ever."""
    steps(Net(keeps=keeps).eval(), 4)
    assert len(recorded) == (keeps == "changed_in_place")


@on_gpu
@pytest.mark.parametrize("keeps", KEEPING)
def test_a_network_that_keeps_something_by_code_keeps_it_at_every_step(keeps):
    compute = choose_compute("cuda")
    assert same(trained(compute, keeps=keeps), trained(compute, keeps=keeps, graphs=False))


def test_nothing_of_a_failed_recording_is_left_when_its_step_is_taken(recorded, monkeypatch):
    """What it has computed may be all the memory there is."""
    alive, gone = [], []

    class Computed:
        pass

    def fails(*_):
        computed = Computed()
        alive.append(weakref.ref(computed))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Step, "_capture", fails)
    network = Net().eval()
    network.register_forward_pre_hook(lambda *_: gone.extend(each() is None for each in alive))
    steps(network, 4)
    assert gone == [True, True]  # in the step that was to be recorded, and in the fifth


def test_where_a_recording_fails_no_memory_of_others_is_kept(recorded):
    kept = steps(Net().eval(), 4)
    assert recorded[0]() is not None
    del kept
    recorded.clear()
    kept = steps(Net().eval(), 4, 6)
    assert recorded[0]() is None
    del kept
