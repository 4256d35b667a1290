"""Networks are trained whatever their code leaves out of a step, or keeps of an evaluation."""

from __future__ import annotations

import copy

import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.lessons import Lessons
from nasprune.session import Session
from nasprune.training import TrainingSettings, evaluate, fit, sgd
from tests.test_training import Given

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)


def test_weights_that_first_steps_leave_out_begin_later():
    """As those of a layer that only some passes run: torch's fused kernels refuse to begin one beside others."""
    layers = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    twins = copy.deepcopy(layers)
    optimizer = sgd(layers, TrainingSettings(epochs=1, learning_rate=0.5, weight_decay=0.1))
    for count in (1, 2, 2):
        for layer in layers[:count]:
            layer.weight.grad = torch.ones(2, 2)
        optimizer.step()
        optimizer.zero_grad()
    for twin, steps in zip(twins, (3, 2), strict=True):
        alone = torch.optim.SGD(twin.parameters(), 0.5, 0.9, 0, 0.1, nesterov=True)
        for _ in range(steps):
            twin.weight.grad = torch.ones(2, 2)
            alone.step()
    for layer, twin in zip(layers, twins, strict=True):
        torch.testing.assert_close(layer.weight, twin.weight)


class Shifted(nn.Linear):
    """Keeps what it makes for the size of a batch until another size comes."""

    scales: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.scales is None or len(self.scales) != len(images):
            self.scales = torch.ones(len(images), 4)
        return super().forward(images.flatten(1)) * self.scales


def test_what_code_keeps_of_an_evaluation_can_be_trained_with():
    network, batches = Shifted(4, 4), Given((torch.eye(4).reshape(4, 4, 1, 1), torch.arange(4)))
    evaluate(network, batches)
    fit(
        network, Lessons(batches), TrainingSettings(epochs=1), COMPUTE,
        phase="p", seed=0, session=Session(),
    )  # fmt: skip
